// Command xcaddy builds Caddy with what an xcaddy.json names and looks for our
// modules in the result: what anybody gets who adds this module to a Caddy of
// their own. It runs the xcaddy that this folder's go.mod pins.
//
//	go -C tools/xcaddy run . <xcaddy.json> <folder for the binary>
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// build is xcaddy.json.
type build struct {
	Caddy   string `json:"caddy_version"`
	Plugins []struct {
		Module  string `json:"module"`
		Version string `json:"version"`
		Replace string `json:"replace"` // a folder, relative to xcaddy.json
	} `json:"plugins"`
	Output string `json:"output"`
}

// modules are those that the binary must list.
var modules = []string{
	"oose", "admin.api.oose", "tls.permission.oose", "caddy.logging.encoders.filter.oose_token",
	"http.handlers.oose_prism", "http.handlers.oose_purchase", "http.handlers.oose_store",
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "building with xcaddy:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: xcaddy <xcaddy.json> <folder>")
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	var b build
	if err := json.Unmarshal(text, &b); err != nil {
		return fmt.Errorf("reading %s: %w", args[0], err)
	}
	binary := filepath.Join(args[1], b.Output)
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	command := []string{"tool", "xcaddy", "build", b.Caddy, "--output", binary}
	for _, p := range b.Plugins {
		with := p.Module + "@" + p.Version
		if p.Replace != "" {
			folder, err := filepath.Abs(filepath.Join(filepath.Dir(args[0]), p.Replace))
			if err != nil {
				return err
			}
			with += "=" + folder
		}
		command = append(command, "--with", with)
	}
	xcaddy := exec.Command("go", command...)
	xcaddy.Stdout, xcaddy.Stderr = os.Stdout, os.Stderr
	if err := xcaddy.Run(); err != nil {
		return fmt.Errorf("running go %s: %w", strings.Join(command, " "), err)
	}
	return check(binary)
}

// check starts the binary and compares the modules it lists with ours.
func check(binary string) error {
	out, err := exec.Command(binary, "list-modules").Output()
	if err != nil {
		return fmt.Errorf("listing the modules of %s: %w", binary, err)
	}
	listed := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		listed[strings.TrimSpace(line)] = true
	}
	for _, name := range modules {
		if !listed[name] {
			return fmt.Errorf("%s lacks the module %s", binary, name)
		}
	}
	fmt.Println("built", binary, "with", strings.Join(modules, ", "))
	return nil
}
