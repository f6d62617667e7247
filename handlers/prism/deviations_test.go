package prism_test

import "github.com/ooseio/oose/handlers/handlertest"

// Reasons that several deviations share. A fault is one of those that the list
// beside the records names, and that are not to be copied.
const (
	wrongMethod  = "fault: any GET of two segments was taken for a purchase"
	notAPurchase = "fault: any GET of two segments was taken for a purchase; what has not the shape of one is none"
	badSession   = "fault: any token that was not malformed passed as valid"
	extOfName    = "the extension is the file name's where that is a known one"
	prefix       = "fault: a hash was a prefix query over everything"
	crashed      = "it ended in a stack trace"
)

func differs(status int, body, why string) handlertest.Deviation {
	return handlertest.Deviation{Status: status, Body: body, Why: why}
}

// deviations is what ours answers otherwise than OOSE 2.4 did, and why. All
// other records are matched. An error that the original answered with a page
// of HTML matches JSON with the same status.
var deviations = map[string]handlertest.Deviation{
	// Framework
	"prism.ping.options":                    differs(204, "", "OPTIONS is answered 204 with Allow, as all routes do"),
	"prism.ping.if_none_match":              differs(200, `{"pong":"pong"}`, "JSON answers carry no ETag: they are about what changes"),
	"prism.crossdomain.get":                 differs(200, `cross-domain-policy`, "the 201 bytes of the policy file are always sent whole"),
	"prism.crossdomain.range_unsatisfiable": differs(200, `cross-domain-policy`, "the 201 bytes of the policy file are always sent whole"),

	// Any GET of two segments was taken for a purchase (fault). Ours says which method the route has.
	"prism.login.get_falls_to_delivery": differs(404, `use POST`, wrongMethod),
	"prism.logout.get":                  differs(404, `use POST`, wrongMethod),
	"prism.upload.get":                  differs(404, `use POST`, wrongMethod),
	"prism.exists.get":                  differs(404, `use POST`, wrongMethod),
	"prism.purchase.get":                differs(404, `use POST`, wrongMethod),
	"prism.download.get":                differs(404, `use POST`, wrongMethod),
	"prism.cache_detail.get":            differs(404, `use POST`, wrongMethod),
	"prism.download.head":               differs(404, "", wrongMethod),

	// Paths that are no purchase are not delivery's: nobody answers them.
	"prism.deliver.malformed_token":               differs(404, `Not found`, notAPurchase),
	"prism.deliver.short_token":                   differs(404, `Not found`, notAPurchase),
	"prism.deliver.token_uppercase_zone":          differs(404, `Not found`, notAPurchase),
	"prism.deliver.token_with_suffix":             differs(404, `Not found`, notAPurchase),
	"prism.deliver.trailing_slash":                differs(404, `Not found`, notAPurchase),
	"prism.static.two_segments_falls_to_delivery": differs(404, `Not found`, notAPurchase),
	"prism.static.two_segments_slash":             differs(404, `Not found`, notAPurchase),

	// Users and sessions
	"prism.login.username_number":                          differs(400, `\"username\" must be a string`, "wrong types are told as such"),
	"prism.session_validate.token_garbage_not_a_cookie":    differs(401, `session is not valid`, badSession),
	"prism.session_validate.token_forged_signature":        differs(401, `session is not valid`, badSession),
	"prism.session_validate.token_expired":                 differs(401, `session is not valid`, badSession),
	"prism.session_validate.token_unknown_user":            differs(401, `session is not valid`, badSession),
	"prism.session_validate.token_value_only":              differs(401, `session is not valid`, badSession),
	"prism.detail.anonymous_token_accepted":                differs(401, `session is not valid`, badSession),
	"prism.purchase.expired_token_accepted":                differs(401, `session is not valid`, badSession),
	"prism.session_validate.token_malformed_authsession":   differs(401, `session is not valid`, "the same status; our tokens are no cookies of CouchDB, whose error this was"),
	"prism.session_validate.bad_token_with_good_basic":     differs(401, `session is not valid`, "the same status; our tokens are no cookies of CouchDB, whose error this was"),
	"prism.logout.bad_token":                               differs(401, `session is not valid`, "the same status; our tokens are no cookies of CouchDB, whose error this was"),
	"prism.session_validate.token_with_cookie_attributes":  differs(401, `session is not valid`, "our tokens are no cookies, and have no attributes"),
	"prism.logout.token_still_valid_afterwards":            differs(401, `session is not valid`, "fault: logout ended nothing"),
	"prism.logout.basic_only":                              differs(401, `needs a session`, "it ended in a stack trace"),
	"prism.documented_but_absent.post_user_password_reset": differs(409, `declared by the configuration`, "its documents have the route, and so do we; this user is declared"),
	"prism.documented_but_absent.post_user_session_update": differs(400, `\"data\" is missing`, "its documents have the route, and so do we"),

	// Uploads
	"prism.upload.two_files_and_field":        differs(200, `"ext":"jpg"`, extOfName),
	"prism.upload.mp3":                        differs(200, `"ext":"mp3"`, extOfName),
	"prism.upload.jpeg":                       differs(200, `"ext":"jpg"`, extOfName),
	"prism.upload.unknown_mimetype":           differs(200, `"ext":"bin"`, "fault: an unknown media type had no extension"),
	"prism.upload.hashType_md5":               differs(200, `"md5":"3e8375d3a617d637b36246179e0fe96b"`, "fault: other digests than sha1 could not be stored"),
	"prism.upload.hashType_sha256":            differs(200, `"sha256":"a51d8fdedb2f39b4dd7fad71065ac7ef9f1a86724b4eab20f5f0106d8635fa43"`, "fault: other digests than sha1 could not be stored"),
	"prism.upload.json_body":                  differs(415, `multipart/form-data`, crashed),
	"prism.upload.empty":                      differs(415, `multipart/form-data`, crashed),
	"prism.upload.multipart_without_boundary": differs(400, `no boundary`, crashed),

	// What is known about a content
	"prism.detail.uppercase_hash":         differs(200, `"exists":true`, "fault: upper-case hashes were not found"),
	"prism.detail.bulk_with_empty_string": differs(200, `"":{"hash":"","mimeType":null`, prefix),
	"prism.exists.bulk_with_empty_string": differs(200, `"":{"hash":"","mimeType":null`, prefix),
	"prism.detail.missing_hash":           differs(400, `\"hash\" is missing`, prefix),
	"prism.detail.hash_with_store_suffix": differs(200, `"a03f181dc7dedcfb577511149b8844711efdb04f:prism1":{"hash":"a03f181dc7dedcfb577511149b8844711efdb04f:prism1","mimeType":null`, prefix),
	"prism.detail.redis_key_injection":    differs(200, `"oose:counter:stat:prism:ping":{"hash":"oose:counter:stat:prism:ping","mimeType":null`, "fault: a hash from a request was used as a database key"),

	// Fetch by URL
	"prism.retrieve.missing_request":    differs(501, `\"request\" is missing`, "the message was one of Node.js"),
	"prism.retrieve.connection_refused": differs(501, `not one to fetch from`, "the message was one of Node.js; port 1 is refused before it is tried"),
	"prism.retrieve.bad_scheme":         differs(501, `Invalid protocol: ftp:`, "the same but for OOSE-Reason, which is one of four"),
	"prism.retrieve.invalid_url":        differs(501, `Invalid URI`, "the same but for OOSE-Reason, which is one of four"),
	"prism.retrieve.truncated_remote":   differs(501, `ended before it was complete`, "fault: truncated bodies were stored"),
	"prism.retrieve.hashType_md5":       differs(200, `"md5":"8a1274272be7a2b998ad0908e93506ca"`, "fault: other digests than sha1 could not be stored"),

	// Purchases
	"prism.purchase.life_negative":          differs(400, `\"life\" must be`, "a purchase that is over before it begins is refused"),
	"prism.purchase.missing_ext":            differs(200, `"ext":"txt"`, "fault: a missing ext became `undefined`; ours is the stored one"),
	"prism.purchase.missing_referrer":       differs(200, `"referrer":""`, "it ended in an error of Node.js; no referrers let any request through"),
	"prism.purchase.referrer_string":        differs(200, `"referrer":"localhost"`, "it ended in an error of Node.js; one referrer is a list of one"),
	"prism.purchase.uppercase_hash":         differs(200, `"hash":"a03f181dc7dedcfb577511149b8844711efdb04f"`, "fault: upper-case hashes were not found"),
	"prism.purchase.ext_with_dot":           differs(200, `"ext":"mp4"`, "an extension has no dot"),
	"prism.purchase.referrer_invalid_regex": differs(400, `Invalid referrer`, "fault: an invalid pattern failed only at delivery"),
	"prism.purchase_remove.old_year":        differs(404, `Purchase not found`, "the token is well-formed, and nobody's"),

	// Delivery
	"prism.deliver.video_no_query":                  differs(302, `/video.mp4?start=0`, "fault: `?null&start=0`"),
	"prism.deliver.video_bare_question":             differs(302, `/video.mp4?start=0`, "fault: `??start=0`"),
	"prism.deliver.video_html5_no_value":            differs(302, `/video.mp4?html5`, "fault: `html5` without a value was not seen"),
	"prism.deliver.referrer_empty_array_no_referer": differs(302, `Found`, "an empty list of referrers lets any request through"),
	"prism.static.fwd_proto_http":                   differs(302, `https://`, "the scheme is believed from trusted proxies only"),
	"prism.static.denied_type_bypass_by_filename":   differs(500, `Invalid static file type`, "fault: `x.txt` fetched an mp4"),

	// Puts and caches
	"prism.put.no_extension":             differs(400, `no extension`, crashed),
	"prism.put.double_ext":               differs(400, `extension is not valid`, crashed),
	"prism.put.short_hash":               differs(500, `does not begin with a hash`, "fault: a mismatch was never answered, but after 10 s by its own client"),
	"prism.cache_flush.missing_command":  differs(400, `\"command\" must be`, crashed),
	"prism.cache_flush.unknown_command":  differs(400, `\"command\" must be`, crashed),
	"prism.cache_flush.inherited_name":   differs(400, `\"command\" must be`, crashed),
	"prism.cache_detail.missing_command": differs(400, `\"command\" must be`, crashed),
	"prism.cache_detail.unknown_command": differs(400, `\"command\" must be`, crashed),
	"prism.cache_detail.no_body":         differs(400, `\"command\" must be`, crashed),
}
