package prism

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ooseio/oose/handlers"
)

// maxNesting is how deep objects in a query or form may be nested.
const maxNesting = 8

// parseRetrieve reads what is to be fetched: a URL, or an object with one.
// Nothing is sent yet. Its errors are Faults.
func parseRetrieve(raw json.RawMessage) (*remoteRequest, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, invalidRetrieve(`The field "request" is missing: send a URL or an object with one`)
	}
	var in retrieveFields
	if raw[0] == '"' {
		if err := json.Unmarshal(raw, &in.URL); err != nil {
			return nil, invalidRetrieve(`"request" is not valid`)
		}
	} else if err := json.Unmarshal(raw, &in); err != nil {
		var kind *json.UnmarshalTypeError
		if errors.As(err, &kind) && kind.Field != "" {
			return nil, invalidRetrieve(fmt.Sprintf(`"request" has a field of the wrong type: %q`, kind.Field))
		}
		return nil, invalidRetrieve(`"request" must be a URL or an object with one`)
	}
	if in.URL == "" {
		in.URL = in.URI
	}
	target, err := parseTarget(in.URL, in.QS)
	if err != nil {
		return nil, err
	}
	body, bodyType, err := in.body()
	if err != nil {
		return nil, err
	}
	method, err := parseMethod(in.Method)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequest(method, target.String(), bytes.NewReader(body)) //nolint:noctx // fetch gives it one
	if err != nil {
		return nil, invalidRetrieve("The request can't be made of these fields")
	}
	if bodyType != "" {
		r.Header.Set("Content-Type", bodyType)
	}
	if in.Auth != nil {
		r.Header.Set("Authorization", in.Auth.header())
	}
	if err := setHeaders(r.Header, in.Headers); err != nil {
		return nil, err
	}
	remote := &remoteRequest{request: r, idle: fetchIdle, follow: in.FollowRedirect == nil || *in.FollowRedirect}
	if ms := in.Timeout.Value; ms > 0 {
		remote.idle = time.Duration(min(ms, int64(maxFetchIdle/time.Millisecond))) * time.Millisecond
	}
	return remote, nil
}

func invalidRetrieve(message string) error {
	return handlers.Faultf(handlers.RetrieveInvalid, "%s", message)
}

func parseTarget(text string, query map[string]any) (*url.URL, error) {
	if text == "" {
		return nil, invalidRetrieve(`"request" has no URL: send "url"`)
	}
	if len(text) > maxURL {
		return nil, invalidRetrieve(fmt.Sprintf("The URL has more than %d bytes", maxURL))
	}
	target, err := url.Parse(text)
	if err != nil || target.Scheme == "" || target.Opaque != "" {
		return nil, invalidRetrieve(fmt.Sprintf("Invalid URI %q", text))
	}
	if s := strings.ToLower(target.Scheme); s != "http" && s != "https" {
		return nil, invalidRetrieve("Invalid protocol: " + s + ":")
	}
	if target.Hostname() == "" {
		return nil, invalidRetrieve(fmt.Sprintf("Invalid URI %q", text))
	}
	target.Fragment = ""
	if len(query) > 0 {
		more, err := encodeForm(query)
		if err != nil {
			return nil, err
		}
		if target.RawQuery != "" && more != "" {
			target.RawQuery += "&"
		}
		target.RawQuery += more
	}
	return target, nil
}

// parseMethod accepts those with which a server might give a content.
func parseMethod(text string) (string, error) {
	switch method := strings.ToUpper(text); method {
	case "":
		return http.MethodGet, nil
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return method, nil
	}
	return "", invalidRetrieve(fmt.Sprintf("The method %.16q can't be used: use GET, POST, PUT, PATCH or DELETE", text))
}

// body returns what is sent with the request, and its media type.
func (in *retrieveFields) body() ([]byte, string, error) {
	asJSON := len(in.JSON) > 0 && string(in.JSON) != "null" && string(in.JSON) != "false"
	switch {
	case len(in.Form) > 0 && string(in.Form) != "null":
		const formType = "application/x-www-form-urlencoded"
		var text string
		if json.Unmarshal(in.Form, &text) == nil {
			return []byte(text), formType, nil
		}
		var fields map[string]any
		if err := json.Unmarshal(in.Form, &fields); err != nil {
			return nil, "", invalidRetrieve(`"form" must be an object or a string`)
		}
		text, err := encodeForm(fields)
		return []byte(text), formType, err
	case asJSON && string(in.JSON) != "true":
		return in.JSON, "application/json", nil
	case len(in.Body) == 0 || string(in.Body) == "null":
		return nil, "", nil
	case asJSON:
		return in.Body, "application/json", nil
	}
	var text string
	if err := json.Unmarshal(in.Body, &text); err != nil {
		return nil, "", invalidRetrieve(`"body" must be a string, unless "json" is true`)
	}
	return []byte(text), "", nil
}

// ownHeaders belong to the connection, or to what is computed here.
var ownHeaders = map[string]bool{
	"Host": true, "Connection": true, "Content-Length": true, "Transfer-Encoding": true, "Te": true, "Trailer": true,
	"Upgrade": true, "Keep-Alive": true, "Expect": true, "Proxy-Authorization": true, "Proxy-Connection": true,
}

func setHeaders(h http.Header, headers map[string]any) error {
	for name, value := range headers {
		text, ok := scalar(value)
		if !ok || !validHeader(name, text) {
			return invalidRetrieve(fmt.Sprintf("The header %.64q is not valid", name))
		}
		if key := http.CanonicalHeaderKey(name); !ownHeaders[key] {
			h.Set(key, text)
		}
	}
	return nil
}

// validHeader checks a name (a token of RFC 9110, 5.6.2) and a value (5.5).
func validHeader(name, value string) bool {
	if name == "" {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// scalar returns a JSON value that is neither object nor array as text.
func scalar(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case nil:
		return "", true
	}
	return "", false
}

// encodeForm encodes fields as forms and queries have them, in the order of
// their names; what is nested becomes `a[b]` and `a[0]`.
func encodeForm(fields map[string]any) (string, error) {
	var b strings.Builder
	if err := appendForm(&b, "", fields, 0); err != nil {
		return "", err
	}
	return b.String(), nil
}

func appendForm(b *strings.Builder, name string, value any, depth int) error {
	if depth > maxNesting {
		return invalidRetrieve(fmt.Sprintf("A query or form is nested more than %d deep", maxNesting))
	}
	switch v := value.(type) {
	case map[string]any:
		names := make([]string, 0, len(v))
		for key := range v {
			names = append(names, key)
		}
		slices.Sort(names)
		for _, key := range names {
			below := key
			if depth > 0 {
				below = name + "[" + key + "]"
			}
			if err := appendForm(b, below, v[key], depth+1); err != nil {
				return err
			}
		}
	case []any:
		for i, element := range v {
			if err := appendForm(b, name+"["+strconv.Itoa(i)+"]", element, depth+1); err != nil {
				return err
			}
		}
	default:
		text, _ := scalar(v)
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(name) + "=" + url.QueryEscape(text))
	}
	return nil
}
