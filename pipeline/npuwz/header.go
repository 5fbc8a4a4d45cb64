package npuwz

import "npuw/artifact"

// Header gives the header of the artifact that the .npuwz file at path holds, whose digest names all of its content. Of the file only the
// front and the seek table have been read then.
func Header(path string) (artifact.Header, error) {
	r, err := openReader(path, whole, 1)
	if err != nil {
		return artifact.Header{}, err
	}
	defer r.close()
	h, err := artifact.HeaderOf(r.header)
	return h, r.named(err)
}
