package drops

//go:generate sh ../generate.sh drop_key drop network
//go:generate sh ../generate.sh NOMAPITER
