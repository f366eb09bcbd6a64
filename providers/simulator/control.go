package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// serveControl answers the simulator's own routes.
func (s *Server) serveControl(w http.ResponseWriter, r *http.Request) {
	switch r.Method + " " + r.URL.Path {
	case "GET /__sim/faults":
		s.writeControl(w, s.faults.list(s.opts.Now()))
	case "POST /__sim/faults":
		s.postFaults(w, r)
	case "DELETE /__sim/faults":
		s.faults.clear(r.URL.Query().Get("route"))
		w.WriteHeader(http.StatusNoContent)
	case "GET /__sim/requests":
		requests, seen := s.journal.list(requestFilter(r))
		s.writeControl(w, struct {
			Seen     int       `json:"seen"` // all that came, also those forgotten since
			Requests []Request `json:"requests"`
		}{seen, requests})
	case "DELETE /__sim/requests":
		if f := requestFilter(r); f == (filter{}) {
			s.journal.reset()
		} else {
			s.journal.forget(f)
		}
		w.WriteHeader(http.StatusNoContent)
	case "GET /__sim/counts":
		s.writeControl(w, struct {
			Routes []Count `json:"routes"`
		}{s.Counts()})
	case "GET /__sim/calls":
		calls, forgotten := s.Calls(r.URL.Query().Get("prompt"))
		s.writeControl(w, struct {
			Calls     []LabelCount `json:"calls"`
			Forgotten int          `json:"forgotten"` // labels
		}{calls, forgotten})
	default:
		http.Error(w, "The simulator has GET, POST and DELETE /__sim/faults, GET and DELETE /__sim/requests, GET /__sim/counts, GET /__sim/calls.", http.StatusNotFound)
	}
}

// requestFilter reads ?api= &route= &model= &fault= &prompt= and &last=.
func requestFilter(r *http.Request) filter {
	q := r.URL.Query()
	last, _ := strconv.Atoi(q.Get("last")) // what is no number is all
	return filter{
		api: q.Get("api"), route: q.Get("route"), model: q.Get("model"),
		fault: q.Get("fault"), prompt: q.Get("prompt"), last: last,
	}
}

// postFaults replaces the faults by a list, or adds the one of an object.
func (s *Server) postFaults(w http.ResponseWriter, r *http.Request) {
	faults, replace, err := decodeFaults(http.MaxBytesReader(w, r.Body, 1<<20))
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	case replace:
		s.SetFaults(faults)
	default:
		s.AddFaults(faults...)
	}
	w.WriteHeader(http.StatusNoContent)
}

// A faultDocument is a fault in JSON, where First may also be named n.
type faultDocument struct {
	Fault
	N int `json:"n"`
}

// decodeFaults reads a list of faults, or one alone, and refuses what no fault
// can mean.
func decodeFaults(body io.Reader) (faults []Fault, list bool, _ error) {
	raw, err := io.ReadAll(body)
	if err != nil {
		return nil, false, fmt.Errorf("read faults: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	list = bytes.HasPrefix(bytes.TrimSpace(raw), []byte("["))
	documents := make([]faultDocument, 1)
	var into any = &documents[0]
	if list {
		into = &documents
	}
	if err := dec.Decode(into); err != nil {
		return nil, false, fmt.Errorf("read faults: %w", err)
	}
	for i, d := range documents {
		if d.N != 0 {
			d.First = d.N
		}
		if err := d.check(); err != nil {
			return nil, false, fmt.Errorf("fault %d: %w", i, err)
		}
		faults = append(faults, d.Fault)
	}
	return faults, list, nil
}

func (s *Server) writeControl(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.log.Debug("simulator: write control answer", "err", err)
	}
}
