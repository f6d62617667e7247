// Package account knows who may use a node: users and their passwords, and
// the sessions that logging in begins. Users are declared by the configuration
// or kept as records; sessions are records, under the SHA-256 of their token,
// so that neither the database nor a copy of it holds a token.
//
// Passwords are kept as bcrypt hashes. Checking one costs up to a second of
// CPU, on purpose: pairs that were right are remembered for 10 minutes under
// an HMAC whose key this process alone has, wrong ones are limited by client
// address, and few are checked at the same time.
package account
