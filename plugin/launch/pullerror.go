package launch

import (
	"slices"
	"strings"
)

// PullReason strips repetitions from the kubelet's message about an image. containerd and the kubelet wrap the
// registry's error several times, each time with the image's name:
//
//	Back-off pulling image "X": ErrImagePull: rpc error: code = NotFound desc = failed to pull and unpack image
//	"X": failed to resolve reference "X": X: not found
func PullReason(image, message string) string {
	// "desc = " ends gRPC's own wrapping.
	if _, description, ok := strings.Cut(message, " desc = "); ok {
		message = description
	}
	var kept []string
	for clause := range strings.SplitSeq(strings.ReplaceAll(message, image, "\x00"), ": ") {
		if strings.Contains(clause, "\x00") || clause == "ErrImagePull" || slices.Contains(kept, clause) {
			continue
		}
		kept = append(kept, clause)
	}
	if len(kept) == 0 { // all clauses name the image: the whole message is all there is
		return strings.ReplaceAll(message, "\x00", image)
	}
	return strings.Join(kept, ": ")
}
