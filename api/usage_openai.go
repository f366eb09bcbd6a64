package api

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/store"
)

// maxPageRows is how many groups a page of the OpenAI form has at most, in all its
// buckets.
const maxPageRows = 10_000

// OpenAIRange is a range of time and a page of it. Lists come as the OpenAI clients send
// them, name[]=a&name[]=b, and as name=a,b. Its capital is for Huma, as that of
// PageInput.
type OpenAIRange struct {
	StartTime   int64    `query:"start_time" required:"true" minimum:"0" maximum:"4102444800" doc:"Unix seconds: from the bucket that this time is in"`
	EndTime     int64    `query:"end_time" minimum:"0" maximum:"4102444800" doc:"Unix seconds: before this time, to the end of its bucket; default: now"`
	Limit       int      `query:"limit" minimum:"1" doc:"Buckets of a page"`
	Page        string   `query:"page" maxLength:"20" doc:"The next_page of the page before"`
	ProjectIDs  []string `query:"project_ids,explode"`
	ProjectIDs2 []string `query:"project_ids[],explode" doc:"The same"`
	APIKeyIDs   []string `query:"api_key_ids,explode"`
	APIKeyIDs2  []string `query:"api_key_ids[],explode" doc:"The same"`
	GroupBy     []string `query:"group_by,explode"`
	GroupBy2    []string `query:"group_by[],explode" doc:"The same"`
}

type organizationImagesInput struct {
	OpenAIRange
	BucketWidth string   `query:"bucket_width" enum:"1h,1d" default:"1d"`
	Models      []string `query:"models,explode"`
	Models2     []string `query:"models[],explode" doc:"The same"`
	Sizes       []string `query:"sizes,explode" example:"1K"`
	Sizes2      []string `query:"sizes[],explode" doc:"The same"`
}

type organizationCostsInput struct {
	OpenAIRange
	BucketWidth string `query:"bucket_width" enum:"1d" default:"1d"`
}

// openAIPage is a page of buckets. The shape is that of "Usage" and "Costs" in the API
// reference of OpenAI (version 2.3.0 of its OpenAPI document).
type openAIPage[T any] struct {
	Object   string            `json:"object" enum:"page"`
	Data     []openAIBucket[T] `json:"data" nullable:"false"`
	HasMore  bool              `json:"has_more"`
	NextPage *string           `json:"next_page" doc:"Send it as page to get the next"`
}

type openAIBucket[T any] struct {
	Object    string `json:"object" enum:"bucket"`
	StartTime int64  `json:"start_time" doc:"Unix seconds"`
	EndTime   int64  `json:"end_time"`
	Results   []T    `json:"results" nullable:"false"`
}

type openAIImages struct {
	Object    string  `json:"object" enum:"organization.usage.images.result"`
	Images    int64   `json:"images" doc:"Delivered"`
	Requests  int64   `json:"num_model_requests" doc:"Generations that ended"`
	Source    *string `json:"source" doc:"If grouped by it" example:"image.generation"`
	Size      *string `json:"size" doc:"If grouped by it" example:"1K"`
	ProjectID *string `json:"project_id" doc:"If grouped by it"`
	UserID    *string `json:"user_id" doc:"Always null: keys ask, not people"`
	APIKeyID  *string `json:"api_key_id" doc:"If grouped by it"`
	Model     *string `json:"model" doc:"If grouped by it"`
}

type openAICosts struct {
	Object    string       `json:"object" enum:"organization.costs.result"`
	Amount    openAIAmount `json:"amount"`
	LineItem  *string      `json:"line_item" doc:"The model, if grouped by it"`
	ProjectID *string      `json:"project_id" doc:"If grouped by it"`
	APIKeyID  *string      `json:"api_key_id" doc:"If grouped by it"`
}

type openAIAmount struct {
	Value    float64 `json:"value" doc:"In the currency; GET /v1/usage has it as a decimal text"`
	Currency string  `json:"currency" enum:"usd"`
}

type openAIOutput[T any] struct {
	CacheControl string `header:"Cache-Control"`
	Body         openAIPage[T]
}

func (s *server) getOrganizationImages(ctx context.Context, in *organizationImagesInput) (*openAIOutput[openAIImages], error) {
	groups := map[string]string{
		"project_id": store.UsageByProject, "api_key_id": store.UsageByKey, "model": store.UsageByModel, "size": store.UsageBySize, "source": store.UsageByKind,
	}
	most := map[string]int{bucketHour: 168, bucketDay: 31}[in.BucketWidth]
	usual := map[string]int{bucketHour: 24, bucketDay: 7}[in.BucketWidth]
	p, err := s.openAIFilter(ctx, &in.OpenAIRange, in.BucketWidth, groups, usual, most)
	if err != nil {
		return nil, err
	}
	p.filter.Models, p.filter.Sizes = listed(in.Models, in.Models2), listed(in.Sizes, in.Sizes2)
	return answerOpenAI(ctx, s, p, func(r *store.UsageRow) openAIImages {
		shown := openAIImages{
			Object: "organization.usage.images.result", Images: r.Images, Requests: r.Generations(),
			Size: r.Size, ProjectID: r.ProjectID, APIKeyID: r.APIKeyID, Model: r.Model,
		}
		if r.Kind != nil {
			shown.Source = new(sourceOf(*r.Kind))
		}
		return shown
	})
}

// sourceOf is the OpenAI API's name of a kind of generation.
func sourceOf(kind string) string {
	if kind == store.KindGenerate {
		return "image.generation"
	}
	return "image." + kind
}

func (s *server) getOrganizationCosts(ctx context.Context, in *organizationCostsInput) (*openAIOutput[openAICosts], error) {
	groups := map[string]string{"project_id": store.UsageByProject, "api_key_id": store.UsageByKey, "line_item": store.UsageByModel}
	p, err := s.openAIFilter(ctx, &in.OpenAIRange, in.BucketWidth, groups, 7, 180)
	if err != nil {
		return nil, err
	}
	return answerOpenAI(ctx, s, p, func(r *store.UsageRow) openAICosts {
		return openAICosts{
			Object: "organization.costs.result", Amount: openAIAmount{Value: float64(r.Micros) / 1e6, Currency: billing.Currency},
			LineItem: r.Model, ProjectID: r.ProjectID, APIKeyID: r.APIKeyID,
		}
	})
}

// openAIQuery is a page that was asked for, and where the range ends that it is of.
type openAIQuery struct {
	filter store.UsageFilter
	width  time.Duration
	ends   time.Time
}

// openAIFilter returns what a range selects of the page that it names. groups are those
// there are, with their names in the store.
func (s *server) openAIFilter(ctx context.Context, in *OpenAIRange, bucket string, groups map[string]string, usual, most int) (openAIQuery, error) {
	p := openAIQuery{width: widthOf(bucket)}
	var err error
	if p.filter, err = usageOf(ctx, listed(in.ProjectIDs, in.ProjectIDs2)...); err != nil {
		return p, err
	}
	for _, name := range listed(in.GroupBy, in.GroupBy2) {
		group := groups[name]
		if group == "" || slices.Contains(p.filter.GroupBy, group) {
			return p, refuseParam("group_by", "invalid", fmt.Sprintf("group_by takes each of these once at most: %s", strings.Join(slices.Sorted(maps.Keys(groups)), ", ")))
		}
		p.filter.GroupBy = append(p.filter.GroupBy, group)
	}
	end := s.opts.Now()
	if in.EndTime != 0 {
		end = time.Unix(in.EndTime, 0)
	}
	start := time.Unix(in.StartTime, 0).UTC()
	if !start.Before(end) {
		return p, refuseParam("start_time", "invalid", "start_time must be before end_time, which is now by default")
	}
	if p.ends = end.UTC().Truncate(p.width); p.ends.Before(end) {
		p.ends = p.ends.Add(p.width)
	}
	p.filter.Start = start.Truncate(p.width)
	if in.Page != "" {
		if p.filter.Start, err = pageStart(in.Page, p); err != nil {
			return p, err
		}
	}
	if in.Limit > most {
		return p, refuseParam("limit", "too_large", fmt.Sprintf("limit must be at most %d with this bucket_width", most))
	}
	if in.Limit == 0 {
		in.Limit = usual
	}
	p.filter.End = p.filter.Start.Add(time.Duration(in.Limit) * p.width)
	if p.filter.End.After(p.ends) {
		p.filter.End = p.ends
	}
	p.filter.Daily, p.filter.APIKeyIDs, p.filter.Limit = bucket == bucketDay, listed(in.APIKeyIDs, in.APIKeyIDs2), maxPageRows+1
	return p, nil
}

// pageStart is where a page begins: with a bucket within the range.
func pageStart(page string, p openAIQuery) (time.Time, error) {
	unix, err := strconv.ParseInt(strings.TrimPrefix(page, "page_"), 10, 64)
	at := time.Unix(unix, 0).UTC()
	if err != nil || at.Before(p.filter.Start) || !at.Before(p.ends) || !at.Equal(at.Truncate(p.width)) {
		return at, refuse("invalid_cursor", "page is not the next_page of a page of the same use; begin again without it.")
	}
	return at, nil
}

// listed joins the two forms of a list; nil: it was not sent.
func listed(plain, bracketed []string) (list []string) {
	for _, values := range append(slices.Clone(plain), bracketed...) {
		for value := range strings.SplitSeq(values, ",") {
			list = append(list, strings.TrimSpace(value))
		}
	}
	return list
}

// answerOpenAI reads a page, and shows it. Where its buckets have too many groups it
// ends with the last that is whole.
func answerOpenAI[T any](ctx context.Context, s *server, p openAIQuery, view func(*store.UsageRow) T) (*openAIOutput[T], error) {
	rows, err := s.readUsage(ctx, p.filter)
	if err != nil {
		return nil, err
	}
	to := p.filter.End
	if len(rows) > maxPageRows {
		to = rows[maxPageRows].Start
	}
	if !to.After(p.filter.Start) {
		return nil, refuseParam("group_by", "too_large", fmt.Sprintf("a bucket has more than %d groups; name fewer in group_by, or use GET /v1/usage", maxPageRows))
	}
	body := openAIPage[T]{Object: "page", Data: []openAIBucket[T]{}}
	for at := p.filter.Start; at.Before(to); at = at.Add(p.width) {
		bucket := openAIBucket[T]{Object: "bucket", StartTime: at.Unix(), EndTime: at.Add(p.width).Unix(), Results: []T{}}
		for len(rows) > 0 && rows[0].Start.Equal(at) {
			bucket.Results = append(bucket.Results, view(rows[0]))
			rows = rows[1:]
		}
		body.Data = append(body.Data, bucket)
	}
	if body.HasMore = to.Before(p.ends); body.HasMore {
		body.NextPage = new("page_" + strconv.FormatInt(to.Unix(), 10))
	}
	return &openAIOutput[T]{CacheControl: notKept, Body: body}, nil
}
