// Package oose adds OOSE to Caddy: storing files by the hash of their content,
// in several clones on different disks, and delivering them at expiring
// purchase URLs. Importing it registers the app `oose`, the handlers
// `oose_prism`, `oose_store` and `oose_purchase`, the admin API and the
// commands, so that a Caddy with OOSE is built by
//
//	xcaddy build --with github.com/ooseio/oose
//
// The server that is made of nothing but Caddy and this is cmd/oose.
package oose

import _ "github.com/ooseio/oose/caddymodule" // registers the modules
