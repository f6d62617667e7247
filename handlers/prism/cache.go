package prism

import (
	"net/http"

	"github.com/ooseio/oose/handlers"
)

func (h *Handler) welcome(w http.ResponseWriter, r *http.Request, _ caller) (any, error) {
	if err := handlers.CheckJSON(w, r); err != nil {
		return nil, err
	}
	return map[string]string{"message": "Welcome to OOSE version " + h.set.Version}, nil
}

func (h *Handler) ping(w http.ResponseWriter, r *http.Request, _ caller) (any, error) {
	if err := handlers.CheckJSON(w, r); err != nil {
		return nil, err
	}
	if h.Ready != nil && !h.Ready() {
		w.Header().Set("Retry-After", "1")
		return handlers.Status{Code: http.StatusServiceUnavailable, Body: map[string]string{"pong": "syncing"}}, nil
	}
	return map[string]string{"pong": "pong"}, nil
}

func (h *Handler) stats(w http.ResponseWriter, r *http.Request, _ caller) (any, error) {
	if err := handlers.CheckJSON(w, r); err != nil {
		return nil, err
	}
	return h.Counters.Snapshot(), nil
}

// What the commands of the cache routes stand for. Purchases and placements
// take the places of the hit counts that OOSE 2.x balanced its peers by.
const (
	cacheAll       = "all"
	cacheStats     = "stats"     // the counters
	cachePurchases = "prismHits" // purchases in memory
	cachePlacement = "storeHits" // placements in memory
)

func readCommand(w http.ResponseWriter, r *http.Request) (string, error) {
	var in struct {
		Command string `json:"command"`
	}
	if err := handlers.ReadJSON(w, r, &in); err != nil {
		return "", err
	}
	switch in.Command {
	case cacheAll, cacheStats, cachePurchases, cachePlacement:
		return in.Command, nil
	}
	return "", handlers.Faultf(handlers.Malformed, `"command" must be one of all, stats, prismHits, storeHits`)
}

// flushCache forgets what is only in memory. What is kept is read again.
func (h *Handler) flushCache(w http.ResponseWriter, r *http.Request, _ caller) (any, error) {
	command, err := readCommand(w, r)
	if err != nil {
		return nil, err
	}
	count := 0
	if command == cacheAll || command == cachePurchases {
		count += h.Book.Flush()
	}
	if command == cacheAll || command == cachePlacement {
		count += h.Index.Forget()
	}
	if command == cacheAll || command == cacheStats {
		count += h.Counters.Reset()
	}
	return map[string]any{"success": "ok", "count": count}, nil
}

func (h *Handler) cacheDetail(w http.ResponseWriter, r *http.Request, _ caller) (any, error) {
	command, err := readCommand(w, r)
	if err != nil {
		return nil, err
	}
	data := map[string]int64{}
	if command == cacheAll || command == cacheStats {
		data = h.Counters.Flat()
	}
	if command == cacheAll || command == cachePurchases {
		data["cache.purchases"] = int64(h.Book.Len())
	}
	if command == cacheAll || command == cachePlacement {
		data["cache.placements"] = int64(h.Index.Cached())
	}
	return map[string]any{"success": "ok", "count": len(data), "data": data}, nil
}
