package main

import "regexp"

// names are words in identifiers, with what to use instead.
var names = map[string]string{
	"walk": "scan", "walks": "scan", "walked": "scan", "walker": "scan", "glance": "scan",
	"look": "read, sample, queryWindow or onDeviceSample", "looks": "samples", "looked": "read or sampled",
	"looking": "reading", "older": "pre515 or preexisting", "plain": "nomapiter, or the property meant",
	"course": "series or history", "courses": "series or history", "processor": "CPU", "processors": "CPUs",
	"again": "retry or retransmit", "mend": "fix", "mends": "fixes", "mended": "fixed",
	"tell": "report, emit or name", "tells": "reports", "told": "reported or named", "telling": "reporting",
	"say": "print, logf or emitStatus", "says": "prints or names", "said": "reported or printed",
	"complain": "warn or logf", "complains": "warns",
	"away": "gap", "unseen": "gap or missing", "standsin": "fake", "standin": "fake", "double": "fake",
	"doubles": "fakes", "bury": "expire", "unbury": "restore", "buried": "expired", "tomb": "tombstone",
	"tombs": "tombstones", "dead": "expired, unreachable or ended", "dog": "watchdog", "parting": "killGrace",
	"patience": "timeout", "silence": "idleTimeout", "settling": "settleTime", "toppings": "topCommands",
	"tracings": "traceCommands", "moment": "signalVector", "moments": "signalVectors", "seat": "podDevice",
	"seats": "podDevices", "crew": "workloadPeers", "ailments": "deviceErrors", "confide": "setConfidence",
	"surveyor": "containerConsumer", "addressed": "addressConsumer", "bench": "harness",
}

// modelNames are words in identifiers of plugin/model, besides.
var modelNames = map[string]string{
	"form": "topic", "forms": "topics", "face": "dimension", "faces": "dimensions", "who": "endpointPair",
	"leaf": "series", "leaves": "series", "rest": "closedTotals",
}

// allowed are identifiers that use a word in its technical sense.
var allowed = map[string]bool{
	"double": true, // the C type
	// A constant of NVML.
	"NVML_PAGE_RETIREMENT_CAUSE_DOUBLE_BIT_ECC_ERROR": true,
}

// prose are phrases in comments, texts and Markdown, with what to write instead.
var prose = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{phrase(`walks?|walked|walking|walker`), "scan or iterate"},
	{phrase(`glances?`), "scan"},
	{phrase(`mend(s|ed|ing)?`), "fix"},
	// With a capital it is part of a model's name, Xeon(R) Processor; with a colon a key of OpenTelemetry's collector.
	{regexp.MustCompile(`\bprocessors?\b([^:]|$)`), "CPU"},
	{regexp.MustCompile(`(?i)(^|\W|[^\Wf]) courses?\b`), "time series or history"},
	{phrase(`sent again|resent`), "retransmitted"},
	{phrase(`stand-ins?|stands in for`), "fake"},
	{phrase(`(test )?doubles`), "fakes"},
	{phrase(`bur(y|ied|ies)|tombs?|the dead`), "tombstone, expired or unreachable"},
	{phrase(`(older|plain) (variants?|builds?)`), "pre515 or nomapiter"},
	{phrase(`surveyors?|ailments?|crew|confides?|toppings|tracings`), "the glossary's term"},
	{phrase(`(is|are|was|were|be|been|being) (told|said|looked at|asked)`), "say who reports what"},
	{phrase(`(tells?|told|says?|said) of`), "report"},
	{phrase(`what (reads|is asked|was seen|asks|it is told)|whom? (is|are) told|of which it is known`), "the noun"},
}

// phrase matches alternatives as whole words, in any case.
func phrase(alternatives string) *regexp.Regexp {
	return regexp.MustCompile(`(?i)\b(` + alternatives + `)\b`)
}

// riddle matches names of tests that begin with a relative clause.
var riddle = regexp.MustCompile(`^Test(What|Who|Whom|Whose|Which|Where|That|Of)[A-Z]`)

// The bounds of a test's name, in characters, and of a line.
const (
	maxTestName = 45
	maxColumns  = 120
)
