package oose_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/ooseio/oose"

// arrows lists what a package of ours, or any below it, may import of ours.
// "x" stands for x alone, "x/..." for x and what is below. The longest name
// that fits a package decides.
var arrows = map[string][]string{
	".":                        {"caddymodule"},
	"cmd/...":                  {"caddymodule", "cmd/..."},
	"caddymodule/...":          {"caddymodule/...", "node/...", "handlers/...", "inventory/...", "purchase/...", "heartbeat/...", "account/...", "journal/...", "record/...", "audit", "content", "peer"},
	"node/...":                 {"handlers/...", "inventory/...", "purchase/...", "heartbeat/...", "account/...", "journal/...", "redisdb/...", "record/...", "audit", "content", "peer"},
	"handlers":                 {"inventory/...", "purchase/...", "heartbeat/...", "account/...", "record/...", "audit", "content", "peer"},
	"handlers/...":             {"handlers", "inventory/...", "purchase/...", "heartbeat/...", "account/...", "record/...", "audit", "content", "peer"},
	"handlers/clones/...":      {"handlers", "handlers/delivery/...", "handlers/upload/...", "inventory/...", "heartbeat/...", "record/...", "content", "peer"},
	"handlers/clonetool/...":   {"handlers", "handlers/repair/...", "inventory/...", "record/...", "content", "peer"},
	"handlers/delivery/...":    {"handlers", "handlers/delivery/...", "inventory/...", "purchase/...", "heartbeat/...", "account/...", "record/...", "content", "peer"},
	"handlers/handlertest/...": {"handlers/...", "inventory/...", "purchase/...", "heartbeat/...", "account/...", "record/...", "content", "peer"},
	"handlers/prism/...":       {"handlers", "handlers/ask", "handlers/delivery/...", "handlers/upload/...", "inventory/...", "purchase/...", "heartbeat/...", "account/...", "record/...", "audit", "content", "peer"},
	"handlers/repair/...":      {"handlers", "handlers/upload/...", "inventory/...", "record/...", "content", "peer"},
	"handlers/store/...":       {"handlers", "handlers/delivery/...", "handlers/upload/...", "inventory/...", "purchase/...", "heartbeat/...", "account/...", "record/...", "audit", "content", "peer"},
	"inventory/...":            {"inventory/...", "record/...", "content", "peer"},
	"purchase/...":             {"purchase/...", "record/...", "content", "peer"},
	"heartbeat/...":            {"heartbeat/...", "record/...", "content", "peer"},
	"account/...":              {"account/...", "record/...", "content", "peer"},
	"journal/...":              {"journal/...", "record/...", "content", "peer"},
	"redisdb/...":              {"redisdb/...", "record/...", "content", "peer"},
	"redisdb/redistest":        {"integration/freeport"},
	"record/...":               {"record/...", "content", "peer"},
	"audit":                    {},
	"content":                  {},
	"peer":                     {},
	"integration/...":          {"..."},
	"bench/...":                {"..."},
}

// caddyHere are the only places that may import anything of Caddy's.
var caddyHere = []string{"cmd/...", "caddymodule/...", "integration/...", "bench/..."}

type pkg struct {
	ImportPath, Dir           string
	GoFiles, IgnoredGoFiles   []string
	TestGoFiles, XTestGoFiles []string
	Imports                   []string
}

// name is the package's folder in the module, "." for the root.
func (p pkg) name() string {
	if p.ImportPath == module {
		return "."
	}
	return strings.TrimPrefix(p.ImportPath, module+"/")
}

func packages(t *testing.T) (list []pkg) {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,IgnoredGoFiles,TestGoFiles,XTestGoFiles,Imports", "./...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else {
			require.NoError(t, err)
		}
		list = append(list, p)
	}
}

// fits tells whether a package is one that the pattern means.
func fits(pattern, name string) bool {
	below, ok := strings.CutSuffix(pattern, "...")
	if !ok {
		return pattern == name
	}
	return below == "" || name+"/" == below || strings.HasPrefix(name+"/", below)
}

func fitsAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return fits(p, name) })
}

func TestImportsFollowTheArrows(t *testing.T) {
	for _, p := range packages(t) {
		best := ""
		for pattern := range arrows {
			if fits(pattern, p.name()) && len(pattern) > len(best) {
				best = pattern
			}
		}
		if best == "" {
			t.Errorf("%s: no arrow says what it may import", p.name())
			continue
		}
		for _, imported := range p.Imports {
			ours := imported == module || strings.HasPrefix(imported, module+"/")
			if ours && !fitsAny(arrows[best], strings.TrimPrefix(strings.TrimPrefix(imported, module), "/")) {
				t.Errorf("%s imports %s: only %v", p.name(), imported, arrows[best])
			}
			if strings.HasPrefix(imported, "github.com/caddyserver/") && !fitsAny(caddyHere, p.name()) {
				t.Errorf("%s imports %s: only %v do", p.name(), imported, caddyHere)
			}
			if (best == "content" || best == "peer") && strings.Contains(strings.Split(imported, "/")[0], ".") {
				t.Errorf("%s imports %s: the vocabulary is of the standard library alone", p.name(), imported)
			}
		}
	}
}

func TestPackagesAreNamedAndIntroduced(t *testing.T) {
	for _, p := range packages(t) {
		switch path.Base(p.name()) {
		case "util", "utils", "common", "helpers", "misc":
			t.Errorf("%s: name it by what it holds", p.name())
		}
		files := append(slices.Clone(p.GoFiles), p.IgnoredGoFiles...)
		if len(p.GoFiles) == 0 {
			files = append(slices.Clone(p.TestGoFiles), p.XTestGoFiles...)
		}
		var comments []string
		for _, name := range files {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
			require.NoError(t, err)
			if f.Doc != nil && (strings.HasPrefix(f.Doc.Text(), "Package ") || strings.HasPrefix(f.Doc.Text(), "Command ")) {
				comments = append(comments, name)
			}
		}
		if len(comments) != 1 {
			t.Errorf("%s has %d package comments (%s), it wants one", p.name(), len(comments), strings.Join(comments, ", "))
		}
	}
}

// Bounds on what one reader can take in at once.
const (
	maxFileLines     = 400
	maxFunctionLines = 60
)

func TestFilesAndFunctionsAreShort(t *testing.T) {
	eachFile(t, func(name string, fset *token.FileSet, f *ast.File) {
		if strings.HasSuffix(name, "_test.go") {
			return
		}
		if lines := fset.File(f.Pos()).LineCount(); lines > maxFileLines {
			t.Errorf("%s has %d lines: at most %d, one job a file", name, lines, maxFileLines)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if lines := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1; lines > maxFunctionLines {
				t.Errorf("%s: %s has %d lines, at most %d", name, fn.Name, lines, maxFunctionLines)
			}
		}
	})
}

// TestTestsNeitherSkipNorSleep: a test that is left out proves nothing, and one
// that sleeps is slow or wrong.
func TestTestsNeitherSkipNorSleep(t *testing.T) {
	eachFile(t, func(name string, fset *token.FileSet, f *ast.File) {
		if !strings.HasSuffix(name, "_test.go") {
			return
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if s, ok := call.Fun.(*ast.SelectorExpr); ok {
				receiver := fmt.Sprint(s.X)
				if s.Sel.Name == "Sleep" && receiver == "time" && !inBubble(f, fset, call) ||
					(s.Sel.Name == "Skip" || s.Sel.Name == "Skipf" || s.Sel.Name == "SkipNow") && (receiver == "t" || receiver == "b") {
					t.Errorf("%s: %s.%s", fset.Position(call.Pos()), receiver, s.Sel.Name)
				}
			}
			return true
		})
	})
}

// inBubble tells whether a call stands in the body of a synctest.Test, where
// sleeping costs no time.
func inBubble(f *ast.File, _ *token.FileSet, call ast.Node) (inside bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		c, ok := n.(*ast.CallExpr)
		if ok && fmt.Sprint(c.Fun) == "&{synctest Test}" && c.Pos() < call.Pos() && call.End() < c.End() {
			inside = true
		}
		return !inside
	})
	return inside
}

// eachFile parses every Go file of the repository, those of the tools as well.
func eachFile(t *testing.T, visit func(name string, fset *token.FileSet, f *ast.File)) {
	t.Helper()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == "build" || d.Name() == "data" || strings.HasPrefix(d.Name(), ".") && name != ".") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution|parser.ParseComments)
		if err != nil {
			return err
		}
		visit(name, fset, f)
		return nil
	})
	require.NoError(t, err)
}
