package handlers

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadJSON(t *testing.T) {
	type fields struct {
		HashField
		N    Int     `json:"n"`
		List Strings `json:"list"`
		On   Flag    `json:"on"`
	}
	read := func(body string, headers ...string) (fields, error) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		for i := 0; i+1 < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		var v fields
		err := ReadJSON(httptest.NewRecorder(), r, &v)
		return v, err
	}
	for body, want := range map[string]fields{
		"": {}, " ": {}, "{}": {}, `{"n":null,"list":null,"on":null}`: {},
		`{"n":5,"on":true}`:        {N: Int{5, true}, On: true},
		`{"n":"-7","on":"TRUE"}`:   {N: Int{-7, true}, On: true},
		`{"n":1.9e3,"on":0}`:       {N: Int{1900, true}},
		`{"n":"","on":""}`:         {},
		`{"list":"a"}`:             {List: Strings{"a"}},
		`{"list":["a","b"],"x":1}`: {List: Strings{"a", "b"}},
		`{"list":[]}`:              {List: Strings{}},
	} {
		got, err := read(body)
		require.NoError(t, err, body)
		require.Equal(t, want, got, body)
	}
	v, err := read(`{"sha1":" a\n"}`, "Content-Type", "application/json; charset=UTF-8")
	require.NoError(t, err)
	require.Equal(t, "a", v.Text())
	v, err = read(`{"sha1":"a","hash":"b"}`, "Content-Type", "application/vnd.api+json")
	require.NoError(t, err)
	require.Equal(t, "b", v.Text())

	for _, tt := range []struct {
		body, contentType string
		code              Code
		message           string
	}{
		{`{`, "", Malformed, "not valid JSON"},
		{`null`, "", Malformed, "must be a JSON object"},
		{`[1]`, "", Malformed, "must be a JSON object"},
		{`{"n":true}`, "", Malformed, `"n" must be a whole number, not true or false`},
		{`{"n":"soon"}`, "", Malformed, `"n" must be a whole number, not a string`},
		{`{"n":[]}`, "", Malformed, `"n" must be a whole number, not an array`},
		{`{"n":1e400}`, "", Malformed, `"n" must be a whole number`},
		{`{"list":{}}`, "", Malformed, `"list" must be a string or an array of strings, not an object`},
		{`{"list":["a",1]}`, "", Malformed, `"list" must be a string or an array of strings, not an array of something else`},
		{`{"on":"perhaps"}`, "", Malformed, `"on" must be true or false, not a string`},
		{`{"hash":[]}`, "", Malformed, `must be a string, not an array`},
		{strings.Repeat(" ", MaxJSON+1), "", TooLarge, "larger than 1048576 bytes"},
		{`{}`, "text/plain", Unsupported, "application/json"},
		{`{}`, "application/json; charset=latin1", Unsupported, "UTF-8"},
		{`{}`, ";;;", Unsupported, "application/json"},
	} {
		_, err := read(tt.body, "Content-Type", tt.contentType)
		var f *Fault
		require.ErrorAs(t, err, &f, tt.body)
		require.Equal(t, tt.code, f.Code, tt.body)
		require.Contains(t, f.Message, tt.message)
	}
}

func TestObjectWriterTellsFailuresAsLongAsItCan(t *testing.T) {
	w := httptest.NewRecorder()
	o := NewObjectWriter(w)
	require.NoError(t, o.Add("a", 1, nil))
	require.ErrorIs(t, o.Add("b", nil, ErrNotMine), ErrNotMine)
	require.Zero(t, w.Body.Len(), "nothing has left: the failure can be told")

	o = NewObjectWriter(w)
	require.NoError(t, o.Add("a", strings.Repeat("x", maxHeld), nil))
	require.NotZero(t, w.Body.Len())
	require.PanicsWithValue(t, http.ErrAbortHandler, func() { _ = o.Add("b", nil, ErrNotMine) })

	w = httptest.NewRecorder()
	require.NoError(t, NewObjectWriter(w).Close())
	require.Equal(t, "{}", w.Body.String())
}
