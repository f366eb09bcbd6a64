package api

import (
	"context"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

type adminListUsageInput struct {
	Start time.Time `query:"start" doc:"From the day (UTC) that this time is in; default: 30 days before end"`
	End   time.Time `query:"end" doc:"Before this time, to the end of its day; default: now"`
	PageInput
}

// AdminUsage is what use brings and costs. Its capital is for Huma, as that of
// PageInput.
type AdminUsage struct {
	Generations    int64    `json:"generations"`
	Images         int64    `json:"images"`
	Credits        int64    `json:"credits"`
	RevenueMicros  int64    `json:"revenue_micros" doc:"What the used credits are worth at their plans' prices, in millionths of a US dollar; not what was invoiced"`
	ProviderMicros int64    `json:"provider_micros" doc:"What the providers' answers cost, also of those in vain"`
	MarginMicros   int64    `json:"margin_micros"`
	Margin         *float64 `json:"margin" doc:"Of the revenue, 1 is all of it; null: there is none"`
}

func viewMargin(s *store.UsageSums) AdminUsage {
	shown := AdminUsage{
		Generations: s.Generations(), Images: s.Images, Credits: s.Credits,
		RevenueMicros: s.Micros, ProviderMicros: s.ProviderMicros, MarginMicros: s.Micros - s.ProviderMicros,
	}
	if s.Micros > 0 {
		shown.Margin = new(float64(shown.MarginMicros) / float64(s.Micros))
	}
	return shown
}

type adminOrgUsage struct {
	OrgID string  `json:"organization_id"`
	Name  *string `json:"name" doc:"null once the organization is gone"`
	AdminUsage
}

type adminUsageList struct {
	Object     string          `json:"object" enum:"list"`
	Start      time.Time       `json:"start"`
	End        time.Time       `json:"end"`
	Total      AdminUsage      `json:"total" doc:"Of all organizations, on this page or not"`
	Data       []adminOrgUsage `json:"data" nullable:"false" doc:"Of each that used something"`
	HasMore    bool            `json:"has_more" doc:"Whether there are more in the direction asked"`
	FirstID    *string         `json:"first_id" doc:"An organization's"`
	LastID     *string         `json:"last_id"`
	NextCursor *string         `json:"next_cursor" doc:"Send it as after, or as before if that was sent, to get the next page"`
}

type adminUsageListOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         adminUsageList
}

func (s *server) adminListUsage(ctx context.Context, in *adminListUsageInput) (*adminUsageListOutput, error) {
	selected, err := in.page("an organization", store.ValidOrgID)
	if err != nil {
		return nil, err
	}
	from, to, err := wholeBuckets(in.Start, in.End, s.opts.Now(), day, 30, maxUsageDays)
	if err != nil {
		return nil, err
	}
	var rows []*store.OrgUsage
	var total *store.UsageSums
	err = s.search(ctx, "This use takes too long to add up; ask for fewer days.", func(ctx context.Context) error {
		if rows, err = s.db.OperatorUsage(ctx, from, to, selected); err != nil {
			return err
		}
		total, err = s.db.TotalUsage(ctx, from, to)
		return err
	})
	if err != nil {
		return nil, err
	}
	shown := pageOf(&in.PageInput, rows, func(u *store.OrgUsage) string { return u.OrgID }, func(u *store.OrgUsage) adminOrgUsage {
		return adminOrgUsage{OrgID: u.OrgID, Name: u.Name, AdminUsage: viewMargin(&u.UsageSums)}
	}).Body
	return &adminUsageListOutput{CacheControl: notKept, Body: adminUsageList{
		Object: shown.Object, Start: from, End: to, Total: viewMargin(total), Data: shown.Data,
		HasMore: shown.HasMore, FirstID: shown.FirstID, LastID: shown.LastID, NextCursor: shown.NextCursor,
	}}, nil
}
