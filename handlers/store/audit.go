package store

import (
	"net/http"

	"github.com/ooseio/oose/audit"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/inventory"
)

// audit writes down what a caller has changed.
func (h *Handler) audit(w http.ResponseWriter, r *http.Request, e audit.Entry) {
	client, _ := h.Client(r)
	e.Actor = handlers.AuditActor(r, "", client)
	handlers.Audit(w, h.Audit, e)
}

// notSound tells what became of a clone that was to be removed, "" where it was.
func notSound(v inventory.Verification) string {
	if v.OK {
		return ""
	}
	return "it is not what its hash says, and is in quarantine"
}
