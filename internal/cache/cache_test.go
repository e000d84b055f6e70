package cache

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New[int, string](3)
		c.Put(1, "a", time.Second)
		if v, ok := c.Get(1); !ok || v != "a" {
			t.Errorf("got %q, %v", v, ok)
		}
		time.Sleep(time.Second)
		if v, ok := c.Get(1); ok || v != "" || c.Len() != 0 {
			t.Errorf("got %q after its time", v)
		}
		for i := range 100 {
			c.Put(i, "x", time.Hour)
			if _, ok := c.Get(i); !ok || c.Len() > 3 {
				t.Fatalf("%d: not held, or %d are", i, c.Len())
			}
		}
		made := 0
		for range 3 {
			c.GetOrPut(1000, time.Minute, func() string { made++; return "y" })
			time.Sleep(50 * time.Second)
		}
		c.Delete(1000)
		if _, ok := c.Get(1000); ok || made != 1 {
			t.Errorf("made %d times, held after it was deleted: %v", made, ok)
		}
	})
}
