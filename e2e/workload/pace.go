package main

import "time"

// pace waits after the i-th of what is done rate times a second since began, in bursts of a millisecond. A rate of 0 is
// no limit.
func pace(began time.Time, i, rate int) {
	if rate > 0 && i%max(rate/1000, 1) == max(rate/1000, 1)-1 {
		time.Sleep(time.Until(began.Add(time.Duration(i+1) * time.Second / time.Duration(rate))))
	}
}
