// Package oosecmd is the program oose: Caddy with its standard modules and OOSE,
// what xcaddy would build, with the commands of a node at top level beside
// Caddy's own. It is apart from package main so that the integration tests,
// built with the race detector, can be the same program.
package oosecmd

import (
	_ "time/tzdata" // zones for logs, also where the system has none

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // Caddy's standard modules

	"github.com/ooseio/oose/caddymodule"
)

// Main runs the program with the arguments of the process. It does not return
// where a command sets an exit status.
func Main() {
	caddy.CustomBinaryName = "oose"
	caddy.CustomLongDescription = description
	caddy.CustomVersion = "OOSE " + caddymodule.Version() + ", Caddy"
	for _, command := range caddymodule.Commands() {
		caddycmd.RegisterCommand(command)
	}
	caddycmd.Main()
}

const description = `OOSE keeps files by the hash of their content, in several clones on different
disks and machines, and delivers them at expiring purchase URLs. It is Caddy
with OOSE built in: it runs, reloads and is configured as Caddy is.

To serve in the foreground:

	$ oose run --config Caddyfile

To put a file into the running server and get a URL that can be played:

	$ oose put movie.mp4

To see how it is:

	$ oose status

put, get, purchase, revoke, status, inventory, scan, verify, adopt and user
ask the server that runs on this machine, through Caddy's admin API; --address
or --config says where that is, if it is not at its usual place. The other
commands are Caddy's; where its own examples say caddy, type oose.`
