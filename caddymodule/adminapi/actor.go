package adminapi

import (
	"net"
	"net/http"
	"net/netip"

	"go.uber.org/zap"

	"github.com/ooseio/oose/audit"
	"github.com/ooseio/oose/handlers"
)

// actor is who sends an admin request. Whoever reaches the endpoint may do
// everything; the operating system tells who that is where it is a user of this
// machine, and a certificate where the endpoint asks for one.
func (c *call) actor() audit.Actor {
	a := audit.Actor{Via: audit.Admin, From: fromOf(c.r)}
	if c.r.TLS != nil && len(c.r.TLS.PeerCertificates) > 0 {
		a.Who = c.r.TLS.PeerCertificates[0].Subject.CommonName
	}
	name, err := systemUser(c.r)
	if err != nil {
		c.log.Debug("the system does not tell who asks", zap.Error(err))
	}
	a.System = name
	return a
}

// fromOf is where a request comes from: an address, or `unix`.
func fromOf(r *http.Request) string {
	if addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && addr.Network() == "unix" {
		return "unix"
	}
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return ap.Addr().Unmap().String()
	}
	return ""
}

// audited writes down what was done. That it can't be is told, and undoes
// nothing.
func (c *call) audited(e audit.Entry) {
	if c.audit == nil {
		return
	}
	e.Actor = c.actor()
	handlers.Audit(c.w, c.audit.Add, e)
	if c.w.Header().Get(handlers.AuditHeader) != "" && c.stream != nil {
		c.stream.warn("The audit log can't be written; what was done is in the node's log, and is written there later")
	}
}
