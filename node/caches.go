package node

import (
	"context"

	"go.uber.org/zap"

	"github.com/ooseio/oose/inventory/pull"
)

// setCache gives a store the room for pull-through copies that the
// configuration says.
func (vs *volumes) setCache(v *openVolume, room int64) {
	switch cache := v.cache.Load(); {
	case cache != nil && room > 0:
		cache.SetMax(room)
	case cache != nil:
		cache.Clear()
		v.closeCache()
	case room > 0:
		v.cache.Store(pull.Open(v.Volume, room, vs.node.Index, vs.node.log.Named("store")))
	default:
		return
	}
	vs.useCaches()
}

// useCaches tells delivery of the caches that there are.
func (vs *volumes) useCaches() {
	open := make(map[string]*pull.Cache)
	for _, v := range vs.all() {
		if c := v.cache.Load(); c != nil {
			open[v.Name()] = c
		}
	}
	vs.caches.Use(open)
}

// closeCache ends a store's cache, before the store is closed.
func (v *openVolume) closeCache() {
	c := v.cache.Swap(nil)
	if c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), uploadsEnd)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		v.log.Warn("closing the pull-through copies of a store", zap.String("store", v.Name()), zap.Error(err))
	}
}
