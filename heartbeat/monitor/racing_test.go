//go:build race

package monitor_test

// racing tells that the race detector watches, with which all takes four times
// as long.
const racing = true
