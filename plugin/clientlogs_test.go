package plugin

import (
	"errors"
	"io"
	"os"
	"testing"

	"k8s.io/klog/v2"
)

func TestClientGo_LogsNothingToStderr(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	discardClientLogs()
	before := os.Stderr
	os.Stderr = w
	klog.ErrorS(errors.New("context canceled"), "Unexpected error when reading response body")
	klog.Background().Error(errors.New("no"), "watch failed")
	klog.Warning("slow")
	klog.Flush()
	os.Stderr = before
	w.Close()
	if logged, err := io.ReadAll(r); err != nil || len(logged) > 0 {
		t.Errorf("logged %q, %v", logged, err)
	}
}
