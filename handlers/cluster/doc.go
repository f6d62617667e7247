// Package cluster is how nodes know one another: calls from node to node carry
// an HMAC made with the cluster's secret, which itself never travels, and so do
// the answers. Client sends such calls; Handler lets nobody else in to what lies
// under /cluster/.
//
// A call is signed over the version of this scheme, the host, the method, the
// request URI, the node's name, a nonce and the time; bodies are not covered,
// for they are streams: against who can change what is on the wire there is TLS.
// A call holds for five minutes around its time and once. A node whose clock
// differs is told the other's, under the same proof as every answer, and signs
// by that.
package cluster
