// Command oose is Caddy with its standard modules and OOSE: what xcaddy would
// build, with the commands of a node at top level beside Caddy's own.
package main

import "github.com/ooseio/oose/cmd/oose/oosecmd"

func main() { oosecmd.Main() }
