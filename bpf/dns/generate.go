package dns

//go:generate sh ../generate.sh dns_event
