package handlertest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"reflect"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// htmlError stands in the records for the page with a stack trace that OOSE
// 2.x answered errors with which it had not thought of. Ours is JSON.
const htmlError = "{html error page}"

// comparedHeaders must be as they are recorded. The Content-Type is compared
// apart, and the others of the records are those of its framework.
var comparedHeaders = []string{
	"www-authenticate", "oose-code", "oose-reason", "oose-message", "content-range", "accept-ranges", "location",
}

// added are fields that ours answers in addition, by the exchanges' prefix.
var added = map[string][]string{
	"prism.upload.":       {"body.list"},
	"prism.purchase.":     {"body.url", "body.ip", "body.count"},
	"prism.login.":        nil,
	"store.send.ok":       {"body.fileDetail.type"},
	"store.remove.":       {"body.fileDetail.type"},
	"store.detail.":       {"body.hashDetail.type"},
	"store.send.file_wit": {"body.fileDetail.type"},
}

// leaked are fields in which OOSE 2.x told where things lie on its disk, and
// what its database said of itself. Ours does not have them.
var leaked = map[string]bool{
	"body.session.data.info": true,
	"body.fileDetail.path":   true, "body.fileDetail.folder": true, "body.fileDetail.basename": true, "body.details.path": true,
}

// Replay sends every exchange and compares the answers. Those in deviations
// must differ from the record, and be what is said there. request is asked for
// each exchange where to send it and what stands for its placeholders; after,
// if any, is told of each answer.
func Replay(t *testing.T, role string, deviations map[string]Deviation, request func(t *testing.T, x *Exchange) (base string, known Replacements)) {
	all := Golden(t, role)
	left := map[string]bool{}
	for name := range deviations {
		left[name] = true
	}
	for i := range all {
		x := &all[i]
		delete(left, x.Name)
		t.Run(x.Name, func(t *testing.T) {
			base, known := request(t, x)
			a := Do(t, x.Build(t, base, known))
			diffs := x.compare(a, known)
			d, deviates := deviations[x.Name]
			if !deviates {
				require.Empty(t, diffs, "the answer, with %d: %s", a.Status, a.Body)
				return
			}
			require.NotEmpty(t, diffs, "the table of deviations has it, but it is as recorded")
			require.NotEmpty(t, d.Why)
			require.Equal(t, d.Status, a.Status, "%s", a.Body)
			require.Contains(t, string(a.Body), strings.NewReplacer(known...).Replace(d.Body))
		})
	}
	require.Empty(t, left, "the table of deviations names exchanges that were not recorded")
}

// compare returns where an answer differs from the record.
func (x *Exchange) compare(a Answer, known Replacements) []string {
	var diffs []string
	differ := func(format string, args ...any) { diffs = append(diffs, fmt.Sprintf(format, args...)) }
	if a.Status != x.Response.Status {
		differ("status %d, recorded %d", a.Status, x.Response.Status)
	}
	swap := strings.NewReplacer(known...)
	for _, name := range comparedHeaders {
		want, ok := x.Response.Headers[name]
		got := anyStore(a.Header.Get(name))
		if ok && got != anyStore(swap.Replace(want)) {
			differ("header %s is %q, recorded %q", name, got, want)
		}
	}
	if body, ok := x.Response.Body.(string); ok {
		return append(diffs, x.compareText(a, body, swap)...)
	}
	if t, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type")); t != "application/json" {
		differ("the answer is %s and no JSON", t)
	}
	var got any
	d := json.NewDecoder(bytes.NewReader(a.Body))
	d.UseNumber()
	if err := d.Decode(&got); err != nil {
		differ("the answer is no JSON: %v", err)
		return diffs
	}
	x.compareJSON("body", x.Response.Body, got, swap, &diffs)
	sort.Strings(diffs)
	return diffs
}

var storeNames = regexp.MustCompile(`//store[0-9]\.`)

// anyStore makes a URL that of any store: which one is chosen varies.
func anyStore(url string) string { return storeNames.ReplaceAllString(url, "//store.") }

// compareText compares a body that is no JSON.
func (x *Exchange) compareText(a Answer, body string, swap *strings.Replacer) []string {
	var diffs []string
	if body == htmlError {
		var ours struct {
			Error string `json:"error"`
		}
		if x.Request.Method != "HEAD" && (json.Unmarshal(a.Body, &ours) != nil || ours.Error == "") {
			diffs = append(diffs, fmt.Sprintf("no JSON with an error but %q", a.Body))
		}
		return diffs
	}
	if !x.varies("body") && string(a.Body) != swap.Replace(body) {
		diffs = append(diffs, fmt.Sprintf("body %q, recorded %q", a.Body, body))
	}
	want, _, _ := mime.ParseMediaType(x.Response.Headers["content-type"])
	if got, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type")); body != "" && want != "" && want != "text/html" && got != want {
		diffs = append(diffs, fmt.Sprintf("content type %q, recorded %q", got, want))
	}
	return diffs
}

// varies tells whether the record says that what lies at a path differs from
// call to call. `*` stands for one part of a path.
func (x *Exchange) varies(path string) bool {
	for _, v := range x.Varies {
		v, _, _ = strings.Cut(v, " ")
		if matches(strings.Split(v, "."), strings.Split(path, ".")) {
			return true
		}
		if v == "body.verifiedAt" && strings.HasSuffix(path, ".verifiedAt") { // also where it is told within
			return true
		}
	}
	return false
}

func matches(pattern, path []string) bool {
	for i, part := range pattern {
		if i == len(path) || part != "*" && part != path[i] {
			return false
		}
	}
	return len(pattern) == len(path)
}

// compareJSON compares shape and values: every recorded field must be there,
// and no others but those that were added.
func (x *Exchange) compareJSON(path string, want, got any, swap *strings.Replacer, diffs *[]string) {
	differ := func(format string, args ...any) { *diffs = append(*diffs, path+": "+fmt.Sprintf(format, args...)) }
	if kind(want) != kind(got) {
		differ("%T, recorded %T", got, want)
		return
	}
	if x.varies(path) {
		return
	}
	switch want := want.(type) {
	case map[string]any:
		got := got.(map[string]any)
		names := map[string]any{}
		for name, v := range want {
			names[swap.Replace(name)] = v
		}
		for name, v := range names {
			ours, ok := got[name]
			if !ok && !leaked[path+"."+name] {
				differ("%q is missing", name)
			} else if ok {
				x.compareJSON(path+"."+name, v, ours, swap, diffs)
			}
		}
		for name := range got {
			if _, ok := names[name]; !ok && !x.added(path+"."+name) {
				differ("%q is not recorded", name)
			}
		}
	case []any:
		got := got.([]any)
		if len(want) != len(got) {
			differ("%d elements, recorded %d", len(got), len(want))
			return
		}
		for i := range want {
			x.compareJSON(fmt.Sprintf("%s.%d", path, i), want[i], got[i], swap, diffs)
		}
	case string:
		if want != "{a path or secret}" && swap.Replace(want) != got {
			differ("%q, recorded %q", got, want)
		}
	default:
		if !reflect.DeepEqual(want, got) {
			differ("%v, recorded %v", got, want)
		}
	}
}

func (x *Exchange) added(path string) bool {
	for prefix, paths := range added {
		for _, p := range paths {
			if strings.HasPrefix(x.Name, prefix) && p == path {
				return true
			}
		}
	}
	return false
}

func kind(v any) string {
	switch v.(type) {
	case map[string]any:
		return "object"
	case []any:
		return "array"
	case nil:
		return "null"
	case bool:
		return "bool"
	case string:
		return "string"
	}
	return "number"
}
