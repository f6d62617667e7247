package caddymodule

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/ooseio/oose/caddymodule/adminapi"
	"github.com/ooseio/oose/caddymodule/command"
	_ "github.com/ooseio/oose/caddymodule/logfilter" // registers the log filter
)

// Commands returns the commands of a node, for a binary that has them at top
// level. Each talks to the running node through Caddy's admin API.
func Commands() []caddycmd.Command { return command.All() }

// Version is the version of OOSE.
func (*App) Version() string { return Version() }

// Interface guards
var _ adminapi.App = (*App)(nil)
