// Package residency keeps small what a process has in memory of its program's
// file.
package residency
