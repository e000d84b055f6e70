package plugin

import (
	"sync"

	"k8s.io/client-go/features"
)

// listFirst are client-go's feature gates without streamed lists.
type listFirst struct{ features.Gates }

// Enabled implements features.Gates.
func (g listFirst) Enabled(f features.Feature) bool {
	return f != features.WatchListClient && g.Gates.Enabled(f)
}

// preferLists makes informers list before they watch. A streamed list spares the API server memory where a watch lasts
// for days. Here it brings nothing earlier, and takes a round trip more where the API server refuses it.
var preferLists = sync.OnceFunc(func() { features.ReplaceFeatureGates(listFirst{features.FeatureGates()}) })
