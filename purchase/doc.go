// Package purchase knows the right to fetch one content for a while: its
// token, its record, who may use it (expiry, referrer, address, number of
// uses), and how it is made, changed and taken back.
//
// # Versions
//
// A purchase may be changed by any node. Each keeps its own latest version
// under the token, and readers merge: one that was revoked is revoked for
// good, otherwise the later version holds. A revocation is data like any
// other, and is kept for 30 days beyond the latest expiry it has seen, so that
// an old replica can't bring the purchase back. A token is never used again.
//
// # Uses
//
// Uses are counted by node and added up by readers. A node counts in memory
// and writes at most once a second and purchase, in the background: the bound
// may be passed by what starts within a second, and a crash forgets no more.
package purchase
