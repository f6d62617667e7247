package prism

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/upload"
)

// retrieve fetches a content from another server. What that server says is
// never repeated to the caller.
func (h *Handler) retrieve(w http.ResponseWriter, r *http.Request, _ caller) (any, error) {
	var in struct {
		Request   json.RawMessage `json:"request"`
		Extension string          `json:"extension"`
		HashType  string          `json:"hashType"`
	}
	if err := handlers.ReadJSON(w, r, &in); err != nil {
		return nil, err
	}
	remote, err := parseRetrieve(in.Request)
	if err != nil {
		return nil, err
	}
	ext, hashType := content.UnknownExt, h.set.HashType
	if in.Extension != "" {
		if ext, err = content.ParseExt(in.Extension); err != nil {
			return nil, handlers.Faultf(handlers.Malformed, `"extension" is not valid: use 1 to 16 letters and digits`).Because(err)
		}
	}
	if in.HashType != "" {
		if hashType, err = content.ParseType(in.HashType); err != nil {
			return nil, unknownType(err)
		}
	}
	resp, release, err := h.fetch(r.Context(), remote.request, remote.idle, remote.follow)
	if err != nil {
		return nil, fetchFault(err)
	}
	defer release()
	if err := checkResponse(remote.request, resp); err != nil {
		return nil, err
	}
	result, err := h.Uploader.Upload(r.Context(), upload.Request{
		Body: resp.Body, Size: resp.ContentLength, Type: hashType, Ext: ext, Copies: h.set.Copies, MaxSize: h.set.MaxSize,
	})
	if err != nil {
		return nil, retrievedFault(err)
	}
	h.took(w, result.Size, result.Durability)
	hash := result.Hash.String()
	return map[string]string{"hash": hash, "extension": ext, hashType.String(): hash}, nil
}

// checkResponse accepts what is a whole content, and nothing else.
func checkResponse(r *http.Request, resp *http.Response) error {
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return handlers.Faultf(handlers.RetrieveFailed, "The other server answered with status %d, not with the content", resp.StatusCode)
	}
	if resp.StatusCode == http.StatusPartialContent && r.Header.Get("Range") == "" {
		return handlers.Faultf(handlers.RetrieveFailed, "The other server sent a part of the content only")
	}
	return nil
}

// fetchFault tells why no response came.
func fetchFault(err error) error {
	switch {
	case errors.Is(err, errRefusedAddress):
		return handlers.Faultf(handlers.RetrieveRefused, "This address is not one to fetch from: it is private, or its port is not allowed").Because(err)
	case errors.Is(err, errScheme):
		return handlers.Faultf(handlers.RetrieveRefused, "The other server redirects to something that is neither http nor https").Because(err)
	case errors.Is(err, errRedirects):
		return handlers.Faultf(handlers.RetrieveFailed, "The other server redirects more than %d times", maxRedirects).Because(err)
	case errors.Is(err, errIdle), errors.Is(err, errTime):
		return handlers.Faultf(handlers.RetrieveFailed, "The other server did not answer in time").Because(err)
	}
	return handlers.Faultf(handlers.RetrieveFailed, "The other server could not be reached").Because(err)
}

// retrievedFault tells why a response did not become a content.
func retrievedFault(err error) error {
	var body *upload.BodyError
	switch {
	case errors.Is(err, errIdle):
		return handlers.Faultf(handlers.RetrieveFailed, "The other server stopped sending; nothing was kept").Because(err)
	case errors.Is(err, errTime):
		return handlers.Faultf(handlers.RetrieveFailed, "The other server took longer than is allowed here; nothing was kept").Because(err)
	case errors.As(err, &body):
		return handlers.Faultf(handlers.RetrieveFailed, "The other server's response ended before it was complete; nothing was kept").Because(err)
	}
	return err
}

// remoteRequest is what is to be fetched, and how.
type remoteRequest struct {
	request *http.Request
	idle    time.Duration // without a byte until it is given up
	follow  bool          // redirects
}

// retrieveFields are the fields of `request`, as the npm package "request"
// calls them. Others that it knows have no effect here.
type retrieveFields struct {
	URL            string          `json:"url"`
	URI            string          `json:"uri"`
	Method         string          `json:"method"`
	Headers        map[string]any  `json:"headers"`
	QS             map[string]any  `json:"qs"`
	Body           json.RawMessage `json:"body"`
	JSON           json.RawMessage `json:"json"`
	Form           json.RawMessage `json:"form"`
	Auth           *retrieveAuth   `json:"auth"`
	Timeout        handlers.Int    `json:"timeout"` // milliseconds
	FollowRedirect *bool           `json:"followRedirect"`
}

type retrieveAuth struct {
	User     string `json:"user"`
	Username string `json:"username"`
	Pass     string `json:"pass"`
	Password string `json:"password"`
}

func (a *retrieveAuth) header() string {
	user, pass := a.User, a.Pass
	if user == "" {
		user = a.Username
	}
	if pass == "" {
		pass = a.Password
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+pass))
}
