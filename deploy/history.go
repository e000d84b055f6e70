package deploy

import (
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// History is the store that servers read what agents hold no more from.
type History struct {
	// URL is that of a VictoriaLogs.
	URL string `json:"url"`
	// Resource are attributes that the resource of records must have, where several clusters share a store: name=value,
	// with commas between.
	Resource string `json:"resource"`
}

// HistorySecret is a Secret in the namespace with what the history store requires in its keys headers, token, ca.crt,
// tls.crt and tls.key, as far as it does. It need not exist.
const HistorySecret = "orb8-history"

const (
	historyVolume = "history"
	historyDir    = "/var/run/secrets/orb8/history"
)

// validate returns a *ValueError for the first wrong value.
func (h *History) validate() error {
	u, err := url.Parse(h.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" ||
		u.Fragment != "" {
		return &ValueError{"history.url", h.URL, "a URL such as http://victorialogs.monitoring:9428"}
	}
	if h.Resource == "" {
		return nil
	}
	for pair := range strings.SplitSeq(h.Resource, ",") {
		if name, value, ok := strings.Cut(pair, "="); !ok || name == "" || value == "" ||
			strings.ContainsFunc(pair, func(r rune) bool { return r < ' ' }) {
			return &ValueError{"history.resource", h.Resource, "attributes such as k8s.cluster.name=prod"}
		}
	}
	return nil
}

// args are those of servers.
func (h *History) args() []string {
	if h == nil {
		h = &History{}
	}
	return []string{"--history=" + h.URL, "--history-resource=" + h.Resource, "--history-credentials=" + historyDir}
}

// historyVolumes are those of servers' pods.
func historyVolumes() ([]corev1.Volume, []corev1.VolumeMount) {
	return []corev1.Volume{{Name: historyVolume, VolumeSource: corev1.VolumeSource{
			Secret: &corev1.SecretVolumeSource{SecretName: HistorySecret, Optional: new(true)}}}},
		[]corev1.VolumeMount{{Name: historyVolume, MountPath: historyDir, ReadOnly: true}}
}
