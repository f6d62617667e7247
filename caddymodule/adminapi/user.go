package adminapi

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/ooseio/oose/account"
	"github.com/ooseio/oose/audit"
	"github.com/ooseio/oose/handlers"
)

// users answers GET /oose/users.
func (c *call) users() error {
	list, err := c.accounts.List(c.r.Context())
	if err != nil {
		return err
	}
	answer := UsersAnswer{Users: []UserAnswer{}}
	for _, u := range list {
		answer.Users = append(answer.Users, UserAnswer{Name: u.Name, Declared: u.Declared})
	}
	return handlers.WriteJSON(c.w, c.r, http.StatusOK, answer)
}

// user answers GET /oose/users/{name}.
func (c *call) user() error {
	u, err := c.accounts.Find(c.r.Context(), c.r.PathValue("name"))
	if err != nil {
		return userFault(c.r.PathValue("name"), err)
	}
	return handlers.WriteJSON(c.w, c.r, http.StatusOK, UserAnswer{Name: u.Name, Declared: u.Declared})
}

// userSet answers PUT /oose/users/{name}: it adds the user or sets a new
// password. If-None-Match: * asks for a new user only, If-Match: * for one
// that exists.
func (c *call) userSet() error {
	name := c.r.PathValue("name")
	var ask PasswordRequest
	if err := handlers.ReadJSON(c.w, c.r, &ask); err != nil {
		return err
	}
	action := audit.UserChange
	_, err := c.accounts.Find(c.r.Context(), name)
	if err != nil && !errors.Is(err, account.ErrUnknownUser) {
		return userFault(name, err)
	}
	if err == nil && c.r.Header.Get("If-None-Match") == "*" {
		return conflict(fmt.Sprintf("There is a user %.64q already: passwd changes the password", name))
	}
	if err != nil && c.r.Header.Get("If-Match") == "*" {
		return userFault(name, err)
	}
	if err != nil {
		action = audit.UserAdd
	}
	if err := c.accounts.Set(c.r.Context(), name, ask.Password); err != nil {
		return userFault(name, err)
	}
	c.audited(audit.Entry{Action: action, User: name})
	return handlers.WriteJSON(c.w, c.r, http.StatusOK, UserAnswer{Name: name})
}

// userRemove answers DELETE /oose/users/{name}.
func (c *call) userRemove() error {
	name := c.r.PathValue("name")
	if err := c.accounts.Remove(c.r.Context(), name); err != nil {
		return userFault(name, err)
	}
	c.audited(audit.Entry{Action: audit.UserRemove, User: name})
	return handlers.WriteJSON(c.w, c.r, http.StatusOK, UserAnswer{Name: name})
}

// userFault tells what is wrong with a user.
func userFault(name string, err error) error {
	switch {
	case errors.Is(err, account.ErrDeclared):
		return conflict(fmt.Sprintf("The user %.64q stands in the configuration and can be changed only there", name))
	case errors.Is(err, account.ErrUnknownUser):
		return handlers.Faultf(handlers.RouteUnknown, "There is no user %.64q", name)
	case errors.Is(err, account.ErrInvalidName), errors.Is(err, account.ErrInvalidPassword):
		return handlers.Faultf(handlers.Malformed, "%s", err)
	}
	return err
}
