package targets

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestRelay_PassesChanges replaces lists and changes single pods, as a reflector does after a watch was cut.
func TestRelay_PassesChanges(t *testing.T) {
	var calls []string
	synced := 0
	r := &relay{known: map[types.NamespacedName]types.UID{}, synced: func() { synced++ }, Handlers: Handlers{
		Set: func(obj any) {
			pod := obj.(*corev1.Pod)
			calls = append(calls, fmt.Sprintf("set %s %s", pod.Name, pod.UID))
		},
		Gone: func(name types.NamespacedName, uid types.UID) {
			calls = append(calls, fmt.Sprintf("gone %s %s", name, uid))
		},
	}}
	want := func(step string, err error, all ...string) {
		t.Helper()
		if slices.Sort(calls); err != nil || !slices.Equal(calls, all) {
			t.Errorf("%s: %v, got\n%s\nwant\n%s", step, err, strings.Join(calls, "\n"), strings.Join(all, "\n"))
		}
		calls = nil
	}
	of := func(name, uid string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: name, UID: types.UID(uid)}}
	}
	want("list", r.Replace([]any{of("a", "1"), of("b", "2")}, "1"), "set a 1", "set b 2")
	want("add", r.Add(of("c", "3")), "set c 3")
	want("change", r.Update(of("c", "3")), "set c 3")
	want("delete", r.Delete(of("b", "2")), "gone demo/b 2")
	// Meanwhile a was deleted and made anew, and c was deleted.
	want("second list", r.Replace([]any{of("a", "4"), of("d", "5")}, "2"), "gone demo/a 1", "gone demo/c 3",
		"set a 4", "set d 5")
	want("deletion of the one before", r.Delete(of("a", "1")), "gone demo/a 1")
	if r.known[types.NamespacedName{Namespace: "demo", Name: "a"}] != "4" {
		t.Error("the pod made anew is not known any more")
	}
	if synced != 2 || len(r.known) != 2 {
		t.Errorf("synced %d times, %d known", synced, len(r.known))
	}
}
