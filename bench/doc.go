// Package bench compares OOSE with other servers, on the same machine and in
// the same run. Its figures are for people; no test depends on them.
package bench
