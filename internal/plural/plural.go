// Package plural writes numbers with English nouns.
package plural

import (
	"fmt"
	"strings"
)

// Count is a number and a noun: "1 node", "2 nodes".
func Count[N int | uint64](n N, noun string) string {
	return fmt.Sprint(n) + " " + Noun(n, noun)
}

// Noun is the noun for n things.
func Noun[N int | uint64](n N, noun string) string {
	switch {
	case n == 1:
		return noun
	case strings.HasSuffix(noun, "s"):
		return noun + "es"
	case strings.HasSuffix(noun, "y"):
		return strings.TrimSuffix(noun, "y") + "ies"
	default:
		return noun + "s"
	}
}
