package prism

import (
	"encoding/json"
	"net/http"

	"github.com/ooseio/oose/account"
	"github.com/ooseio/oose/audit"
	"github.com/ooseio/oose/handlers"
)

func (h *Handler) login(w http.ResponseWriter, r *http.Request, _ caller) (any, error) {
	var in struct {
		Username string `json:"username"`
		Password string `json:"password"`
	}
	if err := handlers.ReadJSON(w, r, &in); err != nil {
		return nil, err
	}
	if in.Username == "" || in.Password == "" {
		return nil, account.ErrBadLogin
	}
	client, _ := h.Client(r)
	s, err := h.Sessions.Login(r.Context(), in.Username, in.Password, client)
	if err != nil {
		return nil, err
	}
	return map[string]any{"success": "User logged in", "session": sessionAnswer(s)}, nil
}

func (h *Handler) logout(w http.ResponseWriter, r *http.Request, c caller) (any, error) {
	s, err := c.sessionAndNoFields(w, r)
	if err != nil {
		return nil, err
	}
	if err := h.Sessions.Logout(r.Context(), s.Token); err != nil {
		return nil, err
	}
	return map[string]any{"success": "User logged out", "data": sessionData(s)}, nil
}

func (h *Handler) validate(w http.ResponseWriter, r *http.Request, c caller) (any, error) {
	s, err := c.sessionAndNoFields(w, r)
	if err != nil {
		return nil, err
	}
	return map[string]any{"success": "Session valid", "session": sessionAnswer(s)}, nil
}

func (h *Handler) updateSession(w http.ResponseWriter, r *http.Request, c caller) (any, error) {
	s, err := c.needSession()
	if err != nil {
		return nil, err
	}
	var in struct {
		Data json.RawMessage `json:"data"`
	}
	if err := handlers.ReadJSON(w, r, &in); err != nil {
		return nil, err
	}
	if in.Data == nil {
		return nil, handlers.Faultf(handlers.Malformed, `The field "data" is missing: send an object`)
	}
	s, err = h.Sessions.Update(r.Context(), s.Token, in.Data)
	if err != nil {
		return nil, err
	}
	return map[string]any{"success": "Session updated", "session": sessionAnswer(s)}, nil
}

func (h *Handler) resetPassword(w http.ResponseWriter, r *http.Request, c caller) (any, error) {
	s, err := c.sessionAndNoFields(w, r)
	if err != nil {
		return nil, err
	}
	password, err := h.Sessions.ResetPassword(r.Context(), s.Token)
	if err != nil {
		return nil, err
	}
	h.audit(w, r, c, audit.Entry{Action: audit.UserChange, User: s.User})
	return map[string]any{"success": "User password reset", "password": password}, nil
}

// sessionAndNoFields is for routes about a session that take nothing else.
func (c caller) sessionAndNoFields(w http.ResponseWriter, r *http.Request) (*account.Session, error) {
	s, err := c.needSession()
	if err != nil {
		return nil, err
	}
	return s, handlers.CheckJSON(w, r)
}

func sessionAnswer(s *account.Session) map[string]any {
	return map[string]any{"token": s.Token, "ip": s.IP, "data": sessionData(s)}
}

// sessionData is what the session's owner put there, and who the user is, as
// OOSE 2.x told it.
func sessionData(s *account.Session) map[string]any {
	kept := map[string]json.RawMessage{}
	// What is kept is a JSON object. One that can't be read is as good as empty.
	_ = json.Unmarshal(s.Data, &kept)
	data := make(map[string]any, len(kept)+2)
	for name, value := range kept {
		data[name] = value
	}
	data["ok"] = true
	data["userCtx"] = map[string]any{"name": s.User, "roles": []string{}}
	return data
}
