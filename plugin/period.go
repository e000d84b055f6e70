package plugin

import (
	"cmp"
	"time"

	"github.com/spf13/pflag"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// periodOptions are the flags for a time in the past, as the user gave them.
type periodOptions struct{ since, until string }

// bind adds the flags. since is the default of --since, note ends the help of both.
func (o *periodOptions) bind(flags *pflag.FlagSet, since, note string) {
	flags.StringVar(&o.since, "since", since, "How far back (10m), or since when (2026-11-30T08:00:00Z)"+note)
	flags.StringVar(&o.until, "until", "",
		"Up to how long ago (5m), or until when (2026-11-30T08:10:00Z); default now"+note)
}

// complete sets the time of a request. How far back is by the server's clock.
func (o *periodOptions) complete(r *orbit.QueryRequest, now time.Time) (err error) {
	if r.Ago, r.Since, err = instant("since", o.since); err != nil {
		return err
	}
	ago, until, err := instant("until", cmp.Or(o.until, "0s"))
	switch {
	case err != nil:
		return err
	case ago > 0:
		until = uint64(now.Add(-time.Duration(ago)).UnixNano())
	}
	if r.Until = until; until > 0 && (r.Since >= until || r.Ago > 0 && r.Ago <= ago) {
		return usagef("--until %s: is not after --since %s", o.until, o.since)
	}
	return nil
}

// length is how long the time of a request is; 0: it is as long as agents reach back.
func length(r *orbit.QueryRequest, now time.Time) time.Duration {
	until := cmp.Or(r.GetUntil(), uint64(now.UnixNano()))
	since := r.GetSince()
	if ago := r.GetAgo(); ago > 0 {
		since = uint64(max(now.UnixNano()-ago, 1))
	}
	if since == 0 {
		return 0
	}
	return time.Duration(until - min(since, until))
}

// instant reads how long ago, ns, or a time, ns since the Unix epoch.
func instant(flag, value string) (ago int64, at uint64, err error) {
	if d, err := time.ParseDuration(value); err == nil {
		if d < 0 {
			return 0, 0, usagef("--%s %q: want 0 or more", flag, value)
		}
		return int64(d), 0, nil
	}
	t, err := time.Parse(time.RFC3339, value)
	if err != nil || t.UnixNano() <= 0 {
		return 0, 0, usagef("--%s %q: want a duration such as 10m, or a time such as 2026-11-30T08:00:00Z", flag, value)
	}
	return 0, uint64(t.UnixNano()), nil
}
