package caddymodule

import "runtime/debug"

// modulePath is the path of the Go module that this is part of.
const modulePath = "github.com/ooseio/oose"

// Version returns the version of OOSE that this program was built with,
// "devel" where the build knows none.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	return versionOf(info)
}

func versionOf(info *debug.BuildInfo) string {
	for _, module := range append([]*debug.Module{&info.Main}, info.Deps...) {
		if module.Path == modulePath && module.Version != "" && module.Version != "(devel)" {
			return module.Version
		}
	}
	return "devel"
}
