package scope

//go:generate sh ../generate.sh scope_event
