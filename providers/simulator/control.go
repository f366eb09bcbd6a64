package simulator

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// serveControl answers the simulator's own routes.
func (s *Server) serveControl(w http.ResponseWriter, r *http.Request) {
	switch r.Method + " " + r.URL.Path {
	case "GET /__sim/faults":
		s.writeControl(w, s.faults.list())
	case "POST /__sim/faults":
		faults, err := decodeFaults(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.SetFaults(faults)
		w.WriteHeader(http.StatusNoContent)
	case "DELETE /__sim/faults":
		s.SetFaults(nil)
		w.WriteHeader(http.StatusNoContent)
	case "GET /__sim/requests":
		requests, seen := s.journal.list()
		s.writeControl(w, struct {
			Seen     int       `json:"seen"` // all that came, also those forgotten since
			Requests []Request `json:"requests"`
		}{seen, requests})
	case "DELETE /__sim/requests":
		s.journal.reset()
		w.WriteHeader(http.StatusNoContent)
	default:
		http.Error(w, "The simulator has GET, POST and DELETE /__sim/faults, GET and DELETE /__sim/requests.", http.StatusNotFound)
	}
}

// decodeFaults reads a JSON list and refuses what no fault can mean.
func decodeFaults(body io.Reader) ([]Fault, error) {
	dec := json.NewDecoder(body)
	dec.DisallowUnknownFields()
	var faults []Fault
	if err := dec.Decode(&faults); err != nil {
		return nil, fmt.Errorf("read list of faults: %w", err)
	}
	for i, f := range faults {
		if err := f.check(); err != nil {
			return nil, fmt.Errorf("fault %d: %w", i, err)
		}
	}
	return faults, nil
}

func (s *Server) writeControl(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.log.Debug("simulator: write control answer", "err", err)
	}
}
