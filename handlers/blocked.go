package handlers

import "github.com/ooseio/oose/inventory"

// Refusal is what a viewer is told of content that the operator blocked: that
// it is, or what is told of content that nobody holds, where the operator wants
// it hidden. unknown is the code for that.
func Refusal(p *inventory.Placement, unknown Code) *Fault {
	if p.Hidden {
		return Faultf(unknown, "Content does not exist")
	}
	return Faultf(Blocked, "This content is blocked")
}
