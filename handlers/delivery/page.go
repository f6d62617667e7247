package delivery

import (
	"html"
	"net/http"
	"strconv"
	"strings"

	"github.com/ooseio/oose/handlers"
)

// prefersHTML tells whether the Accept headers are those of a browser that
// opens a page: text/html is named, and no less welcome than JSON.
func prefersHTML(accept []string) bool {
	page, data := -1.0, -1.0
	for _, list := range accept {
		for list != "" {
			var item string
			item, list, _ = strings.Cut(list, ",")
			name, params, _ := strings.Cut(item, ";")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "text/html":
				page = max(page, quality(params))
			case "application/json":
				data = max(data, quality(params))
			}
		}
	}
	return page > 0 && page >= data
}

// quality reads the weight among a media range's parameters, 1 where it has none.
func quality(params string) float64 {
	for params != "" {
		var p string
		p, params, _ = strings.Cut(params, ";")
		key, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(key, "q") {
			q, err := strconv.ParseFloat(value, 64)
			if err != nil || q < 0 || q > 1 {
				return 0
			}
			return q
		}
	}
	return 1
}

// pageText says to a viewer, who can't do much about it, what happened.
func pageText(code handlers.Code) (title, text string) {
	switch code {
	case handlers.PurchaseUnknown, handlers.ContentUnknown, handlers.StaticUnknown, handlers.Blocked:
		return "Not found", "There is nothing at this address, or it has been taken away. Check that the link is complete."
	case handlers.PurchaseExpired:
		return "This link has expired", "Links work for a limited time. Go back to where you found this one and open it from there again."
	case handlers.PurchaseSpent:
		return "This link has been used up", "It could be used a limited number of times. Go back to where you found it to get a new one."
	case handlers.RefererMissing, handlers.RefererRefused:
		return "Not from here", "This can only be opened from the site it belongs to. Go there and open it from its page."
	case handlers.AddressRefused:
		return "Not from this connection", "This link was made for another network. Open it where you got it, or get a new one."
	case handlers.TypeDenied:
		return "Not allowed", "This kind of file can only be opened with a link made for you."
	case handlers.TooMany:
		return "Too many attempts", "Many addresses that do not exist were asked for from your network. Wait a minute, then try again."
	case handlers.Unavailable, handlers.NoStore:
		return "Not available right now", "The content is there, but can't be reached at the moment. Try again in a few seconds."
	case handlers.MethodNotAllowed:
		return "Not possible here", "This address can only be opened, nothing else."
	case handlers.BadRange:
		return "Past the end", "What was asked for lies beyond the end of the file."
	}
	return "Something went wrong", "The server could not do this. Try again in a moment."
}

// pagePolicy lets the page have its own style and nothing else.
const pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors *"

const (
	pageHead = `<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta name="color-scheme" content="light dark">
<title>`
	pageStyle = `</title>
<style>
:root{--ground:#f6f6f4;--card:#fff;--ink:#1c1f23;--soft:#5c6570;--line:#e3e4e1;--accent:#b4552d}
@media(prefers-color-scheme:dark){:root{--ground:#14161a;--card:#1d2026;--ink:#eceef1;--soft:#a3abb6;--line:#2c3038;--accent:#f0915f}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;min-height:100dvh;display:grid;place-items:center;padding:1.5rem;background:var(--ground);color:var(--ink);font:1rem/1.6 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{width:100%;max-width:32rem;padding:clamp(1.5rem,6vw,2.75rem);background:var(--card);border:1px solid var(--line);border-radius:1rem}
p{margin:0}
.status{color:var(--accent);font-size:.875rem;font-weight:600;letter-spacing:.04em;font-variant-numeric:tabular-nums}
h1{margin:.35rem 0 .75rem;font-size:clamp(1.4rem,5vw,1.85rem);line-height:1.25;text-wrap:balance}
.text{color:var(--soft);text-wrap:pretty}
</style>
<main>
<p class="status">`
)

// writePage answers with a small page that needs nothing from elsewhere.
func writePage(w http.ResponseWriter, r *http.Request, status int, f *handlers.Fault) {
	title, text := pageText(f.Code)
	title, text = html.EscapeString(title), html.EscapeString(text)
	body := pageHead + title + pageStyle + strconv.Itoa(status) + "</p>\n<h1>" + title + "</h1>\n<p class=\"text\">" + text + "</p>\n</main>\n</html>\n"
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(body)) // a client that is gone needs no page
	}
}

const crossdomain = `<?xml version="1.0"?>
<!DOCTYPE cross-domain-policy SYSTEM "http://www.macromedia.com/xml/dtds/cross-domain-policy.dtd">
<cross-domain-policy>
  <allow-access-from domain="*" />
</cross-domain-policy>
`

// writeCrossdomain answers with the policy file that Flash players ask for.
func writeCrossdomain(w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	h.Set("Content-Type", "application/xml")
	h.Set("Cache-Control", "public, max-age=86400")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(crossdomain)))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	_, _ = w.Write([]byte(crossdomain)) // as with the page
	return nil
}
