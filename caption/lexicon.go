package caption

import (
	"strings"
	"sync"
)

// The lexicon of the tagger: the closed classes of English, and of the open ones the words that captions use and that
// endings do not give away. A word that is in none of the lists is a noun.

const (
	wordsDeterminer = `a an the this these those some any each every another other both several many few all no half
		various multiple numerous such his its their my your our whose what-looking one two three four five six seven
		eight nine ten eleven twelve thirteen fourteen fifteen twenty thirty forty fifty hundred thousand dozen`

	wordsPronoun = `i you he she it we they me him us them himself herself itself themselves themself myself yourself
		mine yours hers theirs who whom which what that someone somebody something anyone anybody anything everyone
		everybody everything nobody nothing none there here others oneself`

	wordsPreposition = `in on at by with of to from into onto over under across along around through near behind
		beside besides between among amongst amid amidst against during inside outside towards toward up down off out
		above below beneath underneath beyond past atop upon for about after before like unlike despite throughout
		within without alongside aboard opposite via per including next except until since than versus vs`

	wordsConjunction = `and or but nor while as because if when where whilst so whereas though although plus`

	wordsAuxiliary = `is are was were be been being am has have had having do did will would can could may might must
		should shall isn't aren't wasn't doesn't don't didn't can't won't 're 'm 've 'll 'd does`

	wordsAdverb = `very not too also just still only almost away together apart back forward forwards backward backwards
		upside indoors outdoors downhill uphill upward upwards downward downwards sideways upstairs downstairs overhead nearby ahead
		aside alone else again already always never often sometimes once twice well even rather quite really how then
		now later soon maybe perhaps far fast hard high low straight midair mid-air airborne onstage offshore overboard
		abreast forth somewhere everywhere anywhere aloft barefoot n't more most less least instead`

	// wordsAdjective are adjectives without a telling ending. Colours are among them.
	wordsAdjective = `red blue green yellow silver gold black white brown pink purple gray grey beige tan golden teal maroon
		turquoise navy dark light bright pale blond blonde brunette bald hairy old young new big large small little tiny
		huge giant tall short long wide narrow thin thick fat skinny slim heavy round square flat deep shallow steep
		empty full open closed clean clear wet dry hot cold warm cool fresh raw ripe soft rough smooth sharp dull loud
		quiet calm busy alert happy sad angry mad tired sleepy sick dead alive naked nude bare barefooted bushy busty
		furry fuzzy fluffy shaggy curly wavy spiky spotty dirty dusty muddy sandy rocky snowy icy rainy sunny cloudy foggy misty
		stormy windy grassy leafy woody mossy hilly bumpy murky shiny sparkly frilly lacy fancy pretty beautiful
		handsome cute lovely ugly nice good bad great fine funny silly crazy weird strange odd odd-looking single double triple
		lone main major minor upper lower inner outer middle final last first second third front-facing rear hind left right
		wild tame stray domestic urban rural modern ancient vintage antique formal casual real fake
		plain fancy simple various similar different same own whole entire partial extra own elderly older younger
		larger smaller bigger taller shorter longer closer higher lower oldest youngest largest smallest tallest biggest
		asian african american chinese japanese indian european western eastern middle-eastern mexican hispanic latino
		caucasian german french italian british english spanish korean russian arab muslim amish
		topless shirtless homeless sleeveless male female pregnant adult plaid ornate elaborate
		tropical professional electric electronic digital public private military industrial commercial residential
		traditional religious natural musical medical plastic wooden metallic woolen stainless oriental snow-capped
		colorful multi-colored multicolored multi-colour colourful casual tight loose baggy oversized tattered
		asleep awake upright ready aware unaware able similar identical high-rise low-lying middle-aged
		grown-up cross-country off-road mid-size two-story open-air indoor outdoor overhead
		sheer damp moist soggy slippery sticky greasy fluffy crisp delicious tasty sweet sour spicy
		bitter rich poor strong weak brave proud shy serious playful cheerful joyful graceful peaceful
		intense fierce mean gentle tender scenic vast dense sparse lush barren blurry grainy remote distant
		opposite adjacent parallel nearby foreign local national international early late annual
		elegant stylish trendy goofy chubby muscular athletic disabled blind deaf lit unlit worn torn frozen broken
		fallen hidden drunken sunken uncut unmade woven knit faux tie-dyed tie-dye
		bottom top mini miniature medium average common usual unusual rare typical certain special particular extreme
		lit-up run-down made-up oddly-shaped well-lit well-dressed messy cluttered tidy neat`

	// wordsAdjectiveNoun are adjectives that are nouns where no noun follows.
	wordsAdjectiveNoun = `silver gold adult male female orange square light plastic american asian african indian german hispanic
		oriental double giant wild dark cold front rear middle bottom top brunette blonde blond stray professional
		military public round miniature right left second musical natural elderly cold plaid knit teal muslim
		mexican tan navy newlywed individual official professional local regular rough single lower`

	// wordsVerb are base forms; the others are made from them.
	wordsVerb = `accept act adjust admire aim appear applaud approach arrange arrive attack attempt attend balance bark bathe
		beat become beg begin bend bite blow board bounce bow box brace break breathe bring brush build bump burn bury buy
		call care carry cast catch celebrate change charge chase chat check cheer chew clap clean climb cling close collect
		color come compete consume contain converse cook cool cover crash crawl create cross crouch cruise cry cuddle curl cut
		dance dangle dash decorate descend dig dine dip dive do drag draw drape dress dribble drink drive drop drum dry duck dump dunk
		eat embrace emerge enjoy enter examine exchange exercise exit explore extend face fall feed feel fetch fight fill
		find finish fish fix flap flip float flow fly fold follow frolic gallop gather gaze get gesture give glance glide go grab
		graze greet grill grin grind grip groom grow guard guide hand handle hang happen have head hear help herd hide hike hit hold
		hop hover howl huddle hug hunt hurdle hurry ice ignore inspect interact jog join juggle jump keep kick kiss
		kneel knock know land laugh launch lay lead lean leap learn leave lick lie lift light line listen load look lounge
		lower make march match meet melt mount mow move navigate nap nibble nuzzle observe offer open operate overlook overlap paddle
		paint park participate pass pat paw pedal peek peel peer perch perform pet photograph pick place plant play plow
		point pole pose position pounce pour practice pray preach prepare present press prop protest pucker pull pump punch purchase push put race
		rake raise reach read rear receive recline relax remain remove repair resemble rest retrieve return reveal ride rise roam roll
		romp rub rummage run rush sail salute sample say scale scatter scoop scratch scream search seat see seem sell separate serve set
		sew shake share shave shine shoot shop shout shovel show sing sink sip sit skate skateboard ski skid skip sled sleep slice slide slip
		sled smell smile smoke snarl sniff snorkel snow snowboard snuggle speak speed spin splash spray spread sprint sprinkle squat squeeze
		squint squirt stack stand stare start steer step stick stir stop straddle strap stretch stride stroll strum struggle study stuff
		sunbathe surf surround suspend swat sweep swim swing swoop take talk tackle tap taste teach tear tell throw tickle tie tilt
		tip toss touch tow travel tread trek trot trudge try tug tumble turn twirl twist type unload use vault view visit
		wade wag wait wake walk wander want warm wash watch wave wear weave wear whisper wipe work wrap wrestle write yawn
		yell attach display feature fence garnish gaze head house lounge manage perform pile place pose prepare sport
		stage store top trim wheel zip zoom rollerblade wakeboard windsurf kayak canoe bicycle bike paraglide parasail
		tend sit-up toast toddle trample trip tuck wait-list whip wield wind work-out wrinkle yank scrub scrape scuffle shelter signal
		sketch slam slap slouch snap sneak snooze soar soak sort spar splatter spot squeal stalk stomp sway swerve lunge lope loom jostle prance mill slurp munch graze gnaw sled ford hurl lob juggle skim dribble tiptoe`

	// wordsIrregular are past forms and participles that no rule gives.
	wordsIrregular = `ate began begun bent bit bitten blew blown bought bound broke broken brought built burnt came caught
		clung came cut dove drew drawn drank drunk drove driven fallen fell fed felt flew flown fought found froze frozen gave given
		gone went got gotten grew grown held hidden hid hung kept knelt knew known laid lain led leapt leant left lent lit lost made
		meant met overlooking paid put ran read ridden rode risen rose said sang sung sank sunk sat saw seen sent set shaken shook
		shone shot shown shrunk slept slid sold sought spent split spoke spoken spread sprang sprung spun stole stood struck stuck
		strewn strung swam swum swept swung taken took taught thrown threw told torn tore woke woken wore worn won wound woven wrote written done been laden`

	// wordsIngNoun end in -ing and are nouns.
	wordsIngNoun = `building ceiling clothing wedding painting evening morning railing awning ring king string wing
		swing thing spring sibling duckling drawing sling earring bedding icing dressing pudding frosting meeting lightning
		crossing landing stuffing lettering covering gathering being beijing flooring sing lighting parking siding
		sting topping wiring writing graffiti outing opening carving housing seating batting fencing rigging offspring underlying scaffolding`

	// wordsEdNoun end in -ed and are nouns, or verbs that are none of ours.
	wordsEdNoun = `bed shed sled seed weed reed feed speed steed bobsled moped flatbed watershed newlywed toolshed breed tweed`

	// wordsCompound are participles that a noun before them belongs to: snow covered mountain, long haired dog.
	wordsCompound = `covered haired legged colored coloured lined filled eyed faced sized shaped aged tailed eared
		handed sleeved collared themed topped capped clad painted roofed headed bearded soaked brimmed shirted striped
		checkered patterned printed fringed rimmed uniformed horned winged armed footed walled wheeled stained skinned necked nosed haired coated`

	// wordsGerund are sports and the like that a noun before them belongs to: rock climbing wall.
	wordsGerund = `climbing skating racing boarding skiing fishing surfing jumping riding boating diving lifting bathing`

	// wordsLyNoun end in -ly and are no adverbs.
	wordsLyNoun = `family butterfly fly jelly belly lily bully rally dolly trolley gully assembly elderly curly hilly lovely
		friendly ugly silly early bubbly woolly frilly wooly burly lonely lively daily scraggly squiggly wrinkly smelly chilly holly wobbly cuddly likely kindly ly hillbilly july italy`

	// wordsPlural are plurals without -s.
	wordsPlural = `people men women children policemen firemen kids sheep geese feet teeth mice cattle fish deer police
		workmen fishermen businessmen sportsmen cowgirls crew gentlemen youth servicemen marines snowmen horsemen craftsmen`

	// wordsNotPlural end in -s and are singular.
	wordsNotPlural = `bus grass dress glass tennis gas chess cross class mattress canvas circus octopus cactus lens harness boss moss
		mess princess waitress actress walrus christmas canvas fitness wilderness business campus compass address
		headdress lotus hummus asparagus citrus abs dais pelvis iris`
)

func wordSet(lists ...string) map[string]bool {
	set := map[string]bool{}
	for _, list := range lists {
		for _, word := range strings.Fields(list) {
			set[word] = true
		}
	}
	return set
}

// The sets are filled by loadLexicon.
var (
	determiners, pronouns, prepositions, conjunctions, auxiliaries, adverbs map[string]bool
	adjectives, adjectiveNouns, ingNouns, edNouns, compoundEnds             map[string]bool
	gerunds, lyNouns, plurals, notPlurals, quantityWords                    map[string]bool
	verbBases, verbThird, verbIng, verbPast                                 map[string]bool
)

// loadLexicon fills the sets: only who reads captions pays for them.
var loadLexicon = sync.OnceFunc(func() {
	determiners = wordSet(wordsDeterminer)
	pronouns = wordSet(wordsPronoun)
	prepositions = wordSet(wordsPreposition)
	conjunctions = wordSet(wordsConjunction)
	auxiliaries = wordSet(wordsAuxiliary)
	adverbs = wordSet(wordsAdverb)
	adjectives = wordSet(wordsAdjective)
	adjectiveNouns = wordSet(wordsAdjectiveNoun)
	ingNouns = wordSet(wordsIngNoun)
	edNouns = wordSet(wordsEdNoun)
	compoundEnds = wordSet(wordsCompound)
	gerunds = wordSet(wordsGerund)
	lyNouns = wordSet(wordsLyNoun)
	plurals = wordSet(wordsPlural)
	notPlurals = wordSet(wordsNotPlural)
	verbBases = wordSet(wordsVerb)
	verbThird = inflect(thirdPerson)
	verbIng = inflect(ingForm)
	verbPast = pastForms()
	quantityWords = wordSet("lot lots plenty number variety")
})

func inflect(form func(string) string) map[string]bool {
	forms := map[string]bool{}
	for base := range verbBases {
		forms[form(base)] = true
	}
	return forms
}

func pastForms() map[string]bool {
	forms := wordSet(wordsIrregular)
	for base := range verbBases {
		forms[edForm(base)] = true
	}
	return forms
}

func isVowel(c byte) bool { return strings.IndexByte("aeiou", c) >= 0 }

func thirdPerson(base string) string {
	switch last := base[len(base)-1]; {
	case last == 'y' && !isVowel(base[len(base)-2]):
		return base[:len(base)-1] + "ies"
	case strings.HasSuffix(base, "s"), strings.HasSuffix(base, "sh"), strings.HasSuffix(base, "ch"), last == 'x', last == 'z', base == "go", base == "do":
		return base + "es"
	}
	return base + "s"
}

// doubled returns the base with its last letter doubled where English does so: run, running.
func doubled(base string) string {
	n := len(base)
	if n < 3 || isVowel(base[n-1]) || strings.IndexByte("wxy", base[n-1]) >= 0 || !isVowel(base[n-2]) || isVowel(base[n-3]) {
		return base
	}
	vowels := 0
	for i := range n {
		if isVowel(base[i]) {
			vowels++
		}
	}
	if vowels > 1 {
		return base // not stressed on its end, as most verbs of captions
	}
	return base + base[n-1:]
}

func ingForm(base string) string {
	switch {
	case strings.HasSuffix(base, "ie"):
		return base[:len(base)-2] + "ying"
	case strings.HasSuffix(base, "e") && !strings.HasSuffix(base, "ee") && base != "be":
		return base[:len(base)-1] + "ing"
	}
	return doubled(base) + "ing"
}

func edForm(base string) string {
	switch {
	case strings.HasSuffix(base, "e"):
		return base + "d"
	case base[len(base)-1] == 'y' && !isVowel(base[len(base)-2]):
		return base[:len(base)-1] + "ied"
	}
	return doubled(base) + "ed"
}
