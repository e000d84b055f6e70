package event

import (
	"math"
	"time"
)

// timeLayout is RFC 3339 in UTC, always with nine decimals, so that the order of texts is the order of times.
const timeLayout = "2006-01-02T15:04:05.000000000Z"

// appendTime appends ns since the Unix epoch in timeLayout. It is faster than package time: a flow has three times.
func appendTime(dst []byte, ns uint64) []byte {
	if ns > math.MaxInt64 {
		return time.Unix(0, int64(ns)).UTC().AppendFormat(dst, timeLayout)
	}
	seconds, fraction := ns/1e9, uint(ns%1e9)
	days, second := uint(seconds/86400), uint(seconds%86400)
	year, month, day := date(days)
	text := [len(timeLayout)]byte{4: '-', 7: '-', 10: 'T', 13: ':', 16: ':', 19: '.', 29: 'Z'}
	put2(text[0:2], year/100)
	put2(text[2:4], year%100)
	put2(text[5:7], month)
	put2(text[8:10], day)
	put2(text[11:13], second/3600)
	put2(text[14:16], second/60%60)
	put2(text[17:19], second%60)
	text[20] = byte('0' + fraction/1e8)
	put2(text[21:23], fraction/1e6%100)
	put2(text[23:25], fraction/1e4%100)
	put2(text[25:27], fraction/100%100)
	put2(text[27:29], fraction%100)
	return append(dst, text[:]...)
}

// put2 writes the two digits of n.
func put2(b []byte, n uint) {
	_ = b[1]
	b[0], b[1] = byte('0'+n/10), byte('0'+n%10)
}

const (
	daysOf400Years = 146_097
	// daysBefore1970 are those from 0000-03-01 to 1970-01-01. Years that begin in March have their leap day at the end.
	daysBefore1970 = 719_468
)

// date returns the date of a day since 1970-01-01, in the Gregorian calendar.
func date(days uint) (year, month, day uint) {
	days += daysBefore1970
	era := days / daysOf400Years
	days %= daysOf400Years
	years := (days - days/1460 + days/36_524 - days/(daysOf400Years-1)) / 365 // since the era began, without leap days
	days -= 365*years + years/4 - years/100
	month = (5*days + 2) / 153 // since March; five months in a row have 153 days
	day = days - (153*month+2)/5 + 1
	year = 400*era + years
	if month += 3; month > 12 {
		month -= 12
		year++
	}
	return year, month, day
}
