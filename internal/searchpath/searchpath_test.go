package searchpath

import (
	"fmt"
	"testing"
)

func TestZones_Base(t *testing.T) {
	var z Zones
	if got := z.Base("shop", "api.example.com.cluster.local"); got != "" {
		t.Errorf("%q before the zone is known", got)
	}
	if got := z.Base("shop", "db.shop.svc.cluster.local.cluster.local"); got != "db" {
		t.Errorf("%q, where nothing tells the zone from the name", got)
	}
	for name, want := range map[string]string{
		"api.example.com.shop.svc.cluster.local":           "api.example.com",
		"db.shop.svc.cluster.local":                        "db",
		"db.shop.svc.cluster.local.shop.svc.cluster.local": "db.shop.svc.cluster.local",
	} {
		if got := z.Base("shop", name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]string{
		"api.example.com.svc.cluster.local":       "api.example.com",
		"api.example.com.cluster.local":           "api.example.com",
		"db.shop.svc.cluster.local.cluster.local": "db.shop.svc.cluster.local",
		"api.example.com":                         "",
		"api.example.com.other.svc.example.test":  "",
	} {
		if got := z.Base("shop", name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestZones_AreBounded(t *testing.T) {
	var z Zones
	for i := range 10 * maxZones {
		z.Base("shop", fmt.Sprintf("a.shop.svc.zone-%d", i))
	}
	if len(z.names) != maxZones {
		t.Errorf("%d zones are kept", len(z.names))
	}
}
