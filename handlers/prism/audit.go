package prism

import (
	"net/http"

	"github.com/ooseio/oose/audit"
	"github.com/ooseio/oose/handlers"
)

// audit writes down what a caller has changed.
func (h *Handler) audit(w http.ResponseWriter, r *http.Request, c caller, e audit.Entry) {
	user := ""
	if c.session != nil {
		user = c.session.User
	}
	client, _ := h.Client(r)
	e.Actor = handlers.AuditActor(r, user, client)
	handlers.Audit(w, h.Audit, e)
}
