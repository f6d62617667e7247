package store_test

import "github.com/ooseio/oose/handlers/handlertest"

// Reasons that several deviations share. A fault is one of those that the list
// beside the records names, and that are not to be copied.
const (
	unknownPath = "what is none of its private routes needs no credentials"
	notFound    = "of what a store does not hold it says so with 404"
	crashed     = "it ended in a stack trace"
	ownLayout   = "nginx is told where the file lies: in the layout that is written now, and only in a tree of OOSE 2.x in pairs"
)

// foxPath is where a store keeps the fox.
const foxPath = "/../content/a0/3f/a03f181dc7dedcfb577511149b8844711efdb04f.txt"

func differs(status int, body, why string) handlertest.Deviation {
	return handlertest.Deviation{Status: status, Body: body, Why: why}
}

// deviations is what ours answers otherwise than OOSE 2.4 did, and why. All
// other records are matched. An error that the original answered with a page
// of HTML matches JSON with the same status.
var deviations = map[string]handlertest.Deviation{
	// Framework
	"store.ping.if_none_match":         differs(200, `{"pong":"pong"}`, "JSON answers carry no ETag: they are about what changes"),
	"store.index.options":              differs(204, "", "OPTIONS is answered 204 with Allow, as all routes do"),
	"store.ping.options":               differs(204, "", "OPTIONS is answered 204 with Allow, as all routes do"),
	"store.bad_percent_path":           differs(400, `Bad Request`, "what is no path is refused before it comes to us"),
	"store.download.if_modified_since": differs(200, `store content A`, "no Last-Modified is sent, since clones of one content differ in it, and RFC 9110, 13.1.3 has it for GET and HEAD only"),

	// Whatever it did not know, the original answered 401 without credentials. Ours is not asked for what is none of its routes, and a method that a route does not have is told.
	"store.unknown_path.post":             differs(404, `Not found`, unknownPath),
	"store.crossdomain.get":               differs(404, `Not found`, unknownPath),
	"store.purchase_uri.without_play":     differs(404, `Not found`, unknownPath),
	"store.purchase_uri.missing_filename": differs(404, `Not found`, unknownPath),
	"store.index.wrong_method_put":        differs(404, `use GET or POST`, unknownPath),
	"store.purchase_uri.post_no_auth":     differs(404, `method is not allowed`, unknownPath),

	// Hashes
	"store.put.path_traversal":              differs(500, `does not begin with a hash`, "fault: a hash from a request was used unchecked"),
	"store.exists.glob_characters":          differs(200, `"exists":false`, "fault: a hash from a request was used unchecked"),
	"store.exists.uppercase":                differs(200, `"exists":true`, "fault: upper-case hashes were not found"),
	"store.download.uppercase":              differs(200, `store content A`, "fault: upper-case hashes were not found"),
	"store.exists.sha1_alias_not_supported": differs(200, `"exists":true`, "`sha1` is taken wherever `hash` is"),
	"store.exists.after_aborted_put":        differs(200, `"exists":false`, "fault: an aborted put left half a file that exists"),
	"store.exists.missing_hash":             differs(400, `\"hash\" `, crashed),
	"store.exists.no_body":                  differs(400, `\"hash\" `, crashed),
	"store.exists.hash_null":                differs(400, `\"hash\" `, crashed),

	// For nginx
	"store.purchase_uri.ok":         differs(200, foxPath, ownLayout),
	"store.purchase_uri.ok_cached":  differs(200, foxPath, ownLayout),
	"store.purchase_uri.with_query": differs(200, foxPath, ownLayout),

	// Details and verifications
	"store.detail.unknown":                    differs(404, `File not found`, notFound),
	"store.detail.missing_hash":               differs(404, `File not found`, notFound),
	"store.detail.no_body":                    differs(404, `File not found`, notFound),
	"store.detail.no_extension_file":          differs(404, `File not found`, "a store holds no file without an extension; the original told it with `exists` false"),
	"store.verify.ok_first":                   differs(200, `"verifySkipped":true`, "it was verified when it was written, a moment ago"),
	"store.verify.missing_file":               differs(400, `\"file\" `, crashed),
	"store.verify.hash_field_instead_of_file": differs(400, `\"file\" `, crashed),
	"store.verify.file_number":                differs(400, `\"file\" `, crashed),
	"store.send.missing_file":                 differs(400, `\"file\" `, crashed),
	"store.send.no_body":                      differs(400, `\"file\" `, crashed),
	"store.send.missing_store":                differs(400, `\"store\" `, crashed),
}
