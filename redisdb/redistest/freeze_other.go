//go:build !unix

package redistest

// Freeze fails the test: this system has no such signal.
func (s *Server) Freeze() { s.t.Fatal("a server can't be frozen on this system") }

// Thaw lets it go on.
func (s *Server) Thaw() {}
