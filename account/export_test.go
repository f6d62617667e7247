package account

import "golang.org/x/crypto/bcrypt"

// Cheapen lets passwords be hashed at the least cost, so that tests are quick.
func (u *Users) Cheapen() { u.cost = bcrypt.MinCost }

// DummyOf is dummyOf.
var DummyOf = dummyOf

// MakeRoom is makeRoom.
func MakeRoom(m map[int]bool) { makeRoom(m, func(over bool) bool { return over }) }
