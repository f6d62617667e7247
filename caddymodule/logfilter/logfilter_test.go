package logfilter

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/logging"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"pgregory.net/rapid"

	"github.com/ooseio/oose/purchase"
)

const (
	tokenA = "a20261120a7ch2nx9djn"
	shortA = "a20261120~e8d3d5"
)

func TestMaskTokens(t *testing.T) {
	const hash = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
	tests := []struct{ name, in, want string }{
		{"nothing", "/content/upload", "/content/upload"},
		{"empty", "", ""},
		{"path", "/" + tokenA + "/movie.mp4", "/" + shortA + "/movie.mp4"},
		{"play", "/play/" + tokenA + "/video.mp4?start=0", "/play/" + shortA + "/video.mp4?start=0"},
		{"purchase uri", "/purchase/uri/play/" + tokenA + "/x", "/purchase/uri/play/" + shortA + "/x"},
		{"absolute", "https://cdn.oose.example/" + tokenA + "/a.mp4", "https://cdn.oose.example/" + shortA + "/a.mp4"},
		{"query", "/x?t=" + tokenA + "&u=" + tokenA, "/x?t=" + shortA + "&u=" + shortA},
		{"alone", tokenA, shortA},
		{"glued", "x" + tokenA + "yz", "x" + shortA + "yz"},
		{"one letter encoded", "/%6120261120a7ch2nx9djn/m", "/" + shortA + "/m"},
		{"all encoded", "/" + encodeAll(tokenA, 1) + "/m", "/" + shortA + "/m"},
		{"encoded twice", "/?u=" + encodeAll(tokenA, 2) + "/m", "/?u=" + shortA + "/m"},
		{"encoded four times", encodeAll(tokenA, 4), shortA},
		{"beside other escapes", "/%2F" + tokenA + "%2Fmovie%20one.mp4", "/%2F" + shortA + "%2Fmovie%20one.mp4"},
		{"broken escapes", "/%zz%" + tokenA + "%", "/%zz%" + shortA + "%"},
		{"truncated", "/" + tokenA[:17] + "/m", "/" + purchase.Token(tokenA[:17]).Short() + "/m"},
		{"date and little else", "/holiday20261120abc.mp4", "/holiday20261120abc.mp4"},
		{"any date when alone", "/a99999999a7ch2nx9djn/m", "/" + purchase.Token("a99999999a7ch2nx9djn").Short() + "/m"},
		{"hash", "/static/" + hash + "/m.mp4", "/static/" + hash + "/m.mp4"},
		{"upper-case zone", "/A20261120a7ch2nx9djn/m", "/A20261120a7ch2nx9djn/m"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want, maskTokens(tt.in))
		})
	}
}

func TestMaskOverlapping(t *testing.T) {
	// Both runs of digits look like a date: whatever is the token, none of its
	// secret part stays.
	in := "/b20261120a20261120a7ch2nx9djn/m"
	out := maskTokens(in)
	require.NotContains(t, out, "a7ch2nx9djn")
	require.NotContains(t, out, tokenA)
}

func encodeAll(s string, times int) string {
	for range times {
		var b strings.Builder
		for i := range len(s) {
			fmt.Fprintf(&b, "%%%02x", s[i])
		}
		s = b.String()
	}
	return s
}

// requireNoToken fails if the token can be read in text, as it stands or after
// taking percent-encoding from it.
func requireNoToken(t require.TestingT, token, text string) {
	for range maxEncodings + 1 {
		require.NotContains(t, text, token)
		require.NotContains(t, text, token[tokenPrefix:])
		text, _, _ = decodePercent(text, nil)
	}
}

func TestNoTokenSurvives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		token := rapid.StringMatching(`[a-z0-9]20[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])[A-Za-z0-9]{11}`).Draw(t, "token")
		around := rapid.StringMatching(`[a-z0-9A-Z/?&=%.:-]{0,40}`)
		// A percent sign before must not make a letter of the token part of an
		// escape, which would be another text altogether.
		before, after := around.Draw(t, "before")+"/=", around.Draw(t, "after")+"/="
		written := token
		for range rapid.IntRange(0, 3).Draw(t, "encodings") {
			var b strings.Builder
			for i := range len(written) {
				if rapid.Bool().Draw(t, "encode") {
					fmt.Fprintf(&b, "%%%02X", written[i])
				} else {
					b.WriteByte(written[i])
				}
			}
			written = b.String()
		}
		requireNoToken(t, token, maskTokens(before+written+"/"+after+written))
	})
}

func FuzzMaskTokens(f *testing.F) {
	f.Add("/", "/movie.mp4", uint8(0))
	f.Add("/x?u=", "", uint8(1))
	f.Add("12345678912", "0a%", uint8(2))
	f.Add("%25", "%2561%6", uint8(3))
	f.Fuzz(func(t *testing.T, before, after string, encodings uint8) {
		maskTokens(before) // whatever it is: no panic
		if n := len(before); n > 0 && (before[n-1] == '%' || n > 1 && before[n-2] == '%') {
			before += "/"
		}
		out := maskTokens(before + encodeAll(tokenA, int(encodings%4)) + after)
		require.NotContains(t, out, tokenA)
		require.NotContains(t, out, tokenA[tokenPrefix:])
	})
}

type stringer string

func (s stringer) String() string { return string(s) }

type objectOf map[string]any

func (o objectOf) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	for k, v := range o {
		zap.Any(k, v).AddTo(enc)
	}
	return nil
}

func TestFilterFields(t *testing.T) {
	uri := "/" + tokenA + "/m.mp4"
	fields := map[string]zapcore.Field{
		"string":    zap.String("f", uri),
		"bytes":     zap.ByteString("f", []byte(uri)),
		"binary":    zap.Binary("f", []byte(uri)),
		"array":     zap.Strings("f", []string{"x", uri}),
		"stringer":  zap.Stringer("f", stringer(uri)),
		"error":     zap.Error(errors.New("fetching " + uri)),
		"reflected": zap.Reflect("f", map[string]any{"a": []string{uri}}),
		"url":       zap.Any("f", &url.URL{Path: uri}),
		"number":    zap.Int("f", 20261120),
		"object": zap.Object("f", objectOf{
			"uri": uri, "raw": []byte(uri), "many": []string{uri}, "deep": objectOf{"a": uri},
			"any": map[string]string{"a": uri},
		}),
		"objects": zap.Objects("f", []objectOf{{"uri": uri}}),
	}
	for name, field := range fields {
		t.Run(name, func(t *testing.T) {
			enc := zapcore.NewJSONEncoder(zapcore.EncoderConfig{})
			line, err := enc.EncodeEntry(zapcore.Entry{}, []zapcore.Field{TokenFilter{}.Filter(field)})
			require.NoError(t, err)
			requireNoToken(t, tokenA, line.String())
			if name == "number" {
				require.Contains(t, line.String(), "20261120")
			} else {
				require.Contains(t, line.String(), shortA)
			}
		})
	}
}

func TestFilterInCaddyfile(t *testing.T) {
	d := caddyfile.NewTestDispenser(`filter {
		request>uri oose_token
		resp_headers>Location oose_token
	}`)
	var enc logging.FilterEncoder
	require.NoError(t, enc.UnmarshalCaddyfile(d))
	require.JSONEq(t, `{"filter":"oose_token"}`, string(enc.FieldsRaw["request>uri"]))
	require.JSONEq(t, `{"filter":"oose_token"}`, string(enc.FieldsRaw["resp_headers>Location"]))

	d = caddyfile.NewTestDispenser(`filter {
		request>uri oose_token all
	}`)
	require.ErrorContains(t, new(logging.FilterEncoder).UnmarshalCaddyfile(d), "takes no arguments")
}

func BenchmarkMaskTokens(b *testing.B) {
	for _, uri := range []string{"/content/upload", "/" + tokenA + "/movie.mp4", "/static/da39a3ee5e6b4b0d3255bfef95601890afd80709/a%20b.mp4"} {
		b.Run(uri, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				maskTokens(uri)
			}
		})
	}
}
