package collect

import "testing"

func TestShared_KeepsEqualValuesOnce(t *testing.T) {
	const most = 8
	s := newShared[podNames](most)
	names := func(pod string) podNames { return podNames{namespace: "demo", pod: pod} }
	web, db := s.get(names("web")), s.get(names("db"))
	if *web != names("web") || *db != names("db") || web == db {
		t.Fatalf("%v and %v", web, db)
	}
	if s.get(names("web")) != web || s.get(names("db")) != db {
		t.Error("an equal value is kept twice")
	}
	for i := range 10 * most {
		if v := s.get(names(string(rune('a' + i)))); *v != names(string(rune('a'+i))) {
			t.Fatalf("%v of the %d.", v, i)
		}
		if len(s.byHash) > most {
			t.Fatalf("%d values are kept", len(s.byHash))
		}
	}
	if *web != names("web") {
		t.Errorf("a value that is no longer kept is %v", web)
	}
}
