package event

import (
	"strconv"
	"time"
)

// AppendBytes appends n bytes for people in at most five characters: 0, 987, 1.2Ki, 345Mi. The exact number is in JSON.
func AppendBytes(dst []byte, n uint64) []byte {
	if n < 1024 {
		return strconv.AppendUint(dst, n, 10)
	}
	const units = "KMGTPE"
	f, unit := float64(n)/1024, 0
	for f >= 999.5 && unit < len(units)-1 {
		f, unit = f/1024, unit+1
	}
	return append(appendShort(dst, f), units[unit], 'i')
}

// AppendMicros appends a duration of n µs for people: 87µs, 1.24ms, 2.5s.
func AppendMicros(dst []byte, n uint64) []byte {
	switch {
	case n < 1000:
		return append(strconv.AppendUint(dst, n, 10), "µs"...)
	case n < 999_500:
		return append(appendShort(dst, float64(n)/1e3), "ms"...)
	}
	return append(appendShort(dst, float64(n)/1e6), 's')
}

// AppendNanos appends a duration of n ns for people: 87ns, 1.2µs, 87µs, 2.5s.
func AppendNanos(dst []byte, n uint64) []byte {
	switch {
	case n < 1000:
		return append(strconv.AppendUint(dst, n, 10), "ns"...)
	case n < 99_950:
		return append(appendShort(dst, float64(n)/1e3), "µs"...)
	}
	return AppendMicros(dst, (n+500)/1000)
}

// AppendRate appends a number for people in at most five characters: 0.25, 12.5, 987, 12.3k, 1.2M.
func AppendRate(dst []byte, f float64) []byte {
	if f == 0 {
		return append(dst, '0')
	}
	if f < 0.995 {
		return strconv.AppendFloat(dst, f, 'f', 2, 64)
	}
	const units = "kMGTPE"
	unit := -1
	for f >= 999.5 && unit < len(units)-1 {
		f, unit = f/1000, unit+1
	}
	if dst = appendShort(dst, f); unit >= 0 {
		dst = append(dst, units[unit])
	}
	return dst
}

// appendShort appends f with one decimal below 100.
func appendShort(dst []byte, f float64) []byte {
	if f < 99.95 {
		return strconv.AppendFloat(dst, f, 'f', 1, 64)
	}
	return strconv.AppendFloat(dst, f, 'f', 0, 64)
}

// appendClock appends the time of day of ns since the Unix epoch, to the ms.
func appendClock(dst []byte, ns uint64, in *time.Location) []byte {
	if in == nil {
		in = time.Local
	}
	return time.Unix(0, int64(ns)).In(in).AppendFormat(dst, "15:04:05.000")
}
