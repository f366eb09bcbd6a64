package api_test

import (
	"fmt"
	"testing"
)

// What can not be answered is told apart, with what to do.
func TestUsage_BadInput(t *testing.T) {
	t.Parallel()
	s := setupSpenders(t)
	const year = "start_time=1760000000&"
	for target, want := range map[string]string{
		"/v1/usage?start=2026-01-02T00:00:00Z&end=2026-01-02T00:00:00Z":           "422 validation_failed [start invalid]",
		"/v1/usage?start=9026-01-02T00:00:00Z":                                    "422 validation_failed [start invalid]",
		"/v1/usage?start=2020-01-01T00:00:00Z":                                    "422 validation_failed [start too_large]",
		"/v1/usage?start=2026-01-01T00:00:00Z&end=2026-02-05T00:00:00Z&bucket=1h": "422 validation_failed [start too_large]",
		"/v1/usage?start=yesterday":                                               "422 validation_failed [start invalid_type]",
		"/v1/usage?bucket=1m":                                                     "422 validation_failed [bucket unsupported_value]",
		"/v1/usage?group_by=user":                                                 "422 validation_failed [group_by.0 unsupported_value]",
		"/v1/usage?group_by=model,model":                                          "422 validation_failed [group_by conflict]",
		"/v1/usage?groupby=model":                                                 "422 validation_failed [groupby unknown_parameter]",
		"/v1/usage?after=x":                                                       "400 invalid_cursor []",
		"/v1/usage?end=9999-12-31T23:59:59Z":                                      "422 validation_failed [end out_of_range]",
		"/v1/usage?end=0000-01-01T00:00:00Z":                                      "422 validation_failed [end out_of_range]",
		"/v1/usage?start=1969-12-31T23:59:59Z&end=9999-12-31T23:59:59Z":           "422 validation_failed [start out_of_range]",
		"/v1/usage/export.csv?end=9999-12-31T23:59:59Z":                           "422 validation_failed [end out_of_range]",
		"/v1/requests?status=600":                                                 "422 validation_failed [status invalid]",
		// of a day that begins at five
		"/v1/usage?start=2026-11-01T00:00:00Z&end=2026-11-05T00:00:00Z&after=eyJkIjp0cnVlLCJnIjpudWxsLCJzIjoiMjAyNi0xMS0wMVQwNTowMDowMFoiLCJyIjpudWxsfQ": "400 invalid_cursor []",
		"/v1/usage?after=eyJzIjoiMjAwMC0wMS0wMVQwMDowMDowMFoifQ":                    "400 invalid_cursor []",
		"/v1/usage/export.csv?start=2020-01-01T00:00:00Z":                           "422 validation_failed [start too_large]",
		"/v1/organization/costs":                                                    "422 validation_failed [start_time required]",
		"/v1/organization/costs?start_time=1760000000&bucket_width=1h":              "422 validation_failed [bucket_width unsupported_value]",
		"/v1/organization/costs?" + year + "limit=181":                              "422 validation_failed [limit too_large]",
		"/v1/organization/costs?" + year + "end_time=1760000000":                    "422 validation_failed [start_time invalid]",
		"/v1/organization/costs?" + year + "group_by=size":                          "422 validation_failed [group_by invalid]",
		"/v1/organization/usage/images?" + year + "group_by[]=model&group_by=model": "422 validation_failed [group_by invalid]",
		"/v1/organization/usage/images?" + year + "limit=32":                        "422 validation_failed [limit too_large]",
		"/v1/organization/usage/images?" + year + "page=1760000001":                 "400 invalid_cursor []",
		"/v1/organization/usage/images?" + year + "page=page_99999999999999":        "400 invalid_cursor []",
		"/v1/organization/usage/images?" + year + "user_ids[]=u":                    "422 validation_failed [user_ids. unknown_parameter]",
		"/v1/organization/usage/images?start_time=1760000000.5":                     "422 validation_failed [start_time invalid_type]",
		"/v1/organization/usage/images?start_time=1760000000&start_time=1&limit=3":  "422 validation_failed [start_time conflict]",
	} {
		a := s.do(s.bundle.live, "GET", target, "")
		if got := fmt.Sprint(a.status, " ", a.code(), " ", a.faults()); got != want {
			t.Errorf("%s: %s, want %s\n%s", target, got, want, a.body)
		}
	}
}

// A time or a status that is none is told what one looks like, and nothing of formats.
func TestUsage_BadInputTexts(t *testing.T) {
	t.Parallel()
	s := setupSpenders(t)
	for target, want := range map[string]string{
		"/v1/usage?start=yesterday":          "start must be a time as in 2026-01-31T12:00:00Z",
		"/v1/requests?status=600":            "status must be a status such as 404 or 4xx",
		"/v1/organization/costs":             "start_time is required",
		"/v1/usage?end=9999-12-31T23:59:59Z": "end must be a time from 1970 to 9998",
	} {
		if got := s.do(s.master, "GET", target, "").json["detail"]; got != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
}
