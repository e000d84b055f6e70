package event

//go:generate sh generate.sh
